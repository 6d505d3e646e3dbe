"""
Return golden's fingerprint, reusing the cached one when it is provably still valid.

The last fingerprint is cached together with the server's state just before it was read, the baseline. Before everything
is read again, two proofs are tried:

- no transaction has ended on the whole server since the baseline;
- no session has written to golden since the baseline: all its sessions have been idle for longer, and its counters of
  written rows have not changed. A writing session shows up in one or the other: its activity is visible at once, and
  its counters are written before it ends (from PostgreSQL 15 on; earlier versions could lose them). Only a superuser
  who switches `track_counts` off for one session, writes and disconnects is missed.

Sequences and shared catalogs change without either sign, so they are read every time.

Concurrent callers share one read: a fingerprint read after a caller asked is valid for that caller.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tasks_lib.databases.compare import fingerprint
from tasks_lib.databases.compare.fingerprint import Fingerprint
from tasks_lib.databases.ownership.golden_template import SMALL_BYTES
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.sessions import READER
from tasks_lib.files import LockHeldError, atomic_write, file_lock, make_state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg import Connection

    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source

_TURN_SECONDS = 10.0

_LOCK_TIMEOUT = "200ms"
"""A relation that is locked for longer counts as being changed."""


@dataclass(frozen=True)
class Baseline:
    """
    The server's state at one instant, as far as it shows whether golden has changed.

    Attributes:
        epoch: Changes with a restart and with a crash, which empties unlogged tables and resets the counters.
        at: The server's clock, in seconds since 1970; as text, to keep every digit.
        transactions: Which transactions had ended, as a snapshot's text.
        writes: Rows inserted, updated and deleted in golden since its counters were *reset*; 0 if counting is off.
    """

    epoch: str
    at: str
    transactions: str
    writes: int
    reset: str

    @property
    def read_at(self) -> datetime:
        """When it was read, by the server's clock."""
        return datetime.fromtimestamp(float(self.at), UTC)


@dataclass(frozen=True)
class Freshness:
    """
    Golden's current fingerprint.

    Attributes:
        how: What proved it: `transactions` or `counters`; `fingerprint` if everything was read; `shared` if another
            process has just read it.
    """

    found: Fingerprint
    how: str


def read_current_fingerprint(source: Source, golden: Golden, asked: Baseline) -> Freshness:
    """
    Return golden's current fingerprint, or why it cannot be read.

    Args:
        asked: The server's state when the caller asked.

    Raises:
        DatabaseError: If golden cannot be connected to.
    """
    with _one_reader(source, golden):
        cached = _read_cache(source, golden)
        if cached and cached.baseline.epoch == asked.epoch and float(cached.baseline.at) >= float(asked.at):
            return Freshness(cached.fingerprint, "shared")
        return _prove_or_read(source, golden, cached)


def _prove_or_read(source: Source, golden: Golden, cached: _Cached | None) -> Freshness:
    from psycopg import errors

    with source.server.connect(golden.name) as inside:
        # Read before the fingerprint, so that a change in between counts as a change.
        baseline = read_baseline(inside, golden.oid)
        how = _find_proof(inside, golden, cached.baseline, baseline) if cached else None
        begin = f"{fingerprint.BEGIN}; SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"
        inside.execute(f"SET application_name = '{READER}'; {begin}".encode())
        try:
            if cached and how and fingerprint.read_outside(inside, golden.oid) == cached.outside:
                found = cached.fingerprint
            else:
                found, how = fingerprint.read(inside, golden.oid), "fingerprint"
        # UndefinedTable: a relation was dropped after it was listed.
        except (errors.LockNotAvailable, errors.UndefinedTable) as error:
            return Freshness(Fingerprint("", obstacle=f"it is being changed ({error.diag.message_primary})"), "")
    cache_fingerprint(source, golden, found, baseline)
    return Freshness(found, how)


@contextmanager
def _one_reader(source: Source, golden: Golden) -> Iterator[None]:
    """
    Let one process of this repository read golden at a time; after ten seconds do not wait any longer.

    Taking turns only saves work, so it is left out where no lock can be held, and by a command that only looks.
    """
    with ExitStack() as turn:
        if not source.looks:
            with suppress(LockHeldError, OSError):
                make_state_folder(source.folder)
                turn.enter_context(file_lock(_cache_file(source, golden).with_suffix(".lock"), timeout=_TURN_SECONDS))
        yield


def looks_unchanged(source: Source, golden: Golden, now: Baseline) -> bool:
    """Whether golden has probably not changed: a guess from the counters, which costs nothing."""
    cached = _read_cache(source, golden)
    return cached is not None and (now.epoch, now.writes) == (cached.baseline.epoch, cached.baseline.writes)


def read_baseline(connection: Connection[Any], oid: int) -> Baseline:
    """Read the server's state for the database *oid*."""
    row = connection.execute(
        "SELECT concat_ws(' ', (SELECT system_identifier FROM pg_control_system()), "
        "extract(epoch FROM pg_postmaster_start_time()), "
        # Any role may read this, and a crash resets it (pgstat_reset_after_failure, pgstat.c).
        "(SELECT extract(epoch FROM stats_reset) FROM pg_stat_bgwriter)), "
        "extract(epoch FROM clock_timestamp())::text, pg_current_snapshot()::text, "
        "CASE WHEN current_setting('track_counts')::bool AND current_setting('track_activities')::bool "
        "AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setconfig::text ~ 'track_(counts|activities)=') "
        "THEN tup_inserted + tup_updated + tup_deleted ELSE 0 END, coalesce(extract(epoch FROM stats_reset)::text, '') "
        "FROM pg_stat_database WHERE datid = %s",
        [oid],
    ).fetchone()
    assert row is not None  # noqa: S101 - the view has a row for every database
    return Baseline(*row)


def cache_fingerprint(source: Source, golden: Golden, found: Fingerprint, baseline: Baseline) -> None:
    """
    Cache *found* and the *baseline* that was read before it; an unknown fingerprint is not cached.

    A cache that cannot be written costs time later, and nothing else.
    """
    if not found.digest or source.looks:
        return
    path = _cache_file(source, golden)
    cached = _Cached(golden.oid, found.digest, found.outside, found.obstacle, *astuple(baseline))
    with suppress(OSError):
        make_state_folder(path.parent)
        atomic_write(path, msgspec.json.encode(cached))


class _Cached(msgspec.Struct, frozen=True):
    """The cache file: golden's oid, and the attributes of `Fingerprint` and `Baseline`."""

    oid: int
    digest: str
    outside: str
    obstacle: str
    epoch: str
    at: str
    transactions: str
    writes: int
    reset: str

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.digest, self.outside, self.obstacle)

    @property
    def baseline(self) -> Baseline:
        return Baseline(self.epoch, self.at, self.transactions, self.writes, self.reset)


def _cache_file(source: Source, golden: Golden) -> Path:
    return source.folder / f"fingerprint-{golden.oid}.json"


def _read_cache(source: Source, golden: Golden) -> _Cached | None:
    with suppress(OSError, msgspec.MsgspecError, UnicodeError):
        cached = msgspec.json.decode(_cache_file(source, golden).read_bytes(), type=_Cached)
        if cached.oid == golden.oid:
            return cached
    return None


def _find_proof(connection: Connection[Any], golden: Golden, before: Baseline, now: Baseline) -> str | None:
    """Return the proof that no transaction has changed golden between *before* and *now*, None if there is none."""
    if replace(now, at=before.at) == before:
        return "transactions"
    # For a small golden, reading everything costs no more than the second proof.
    if connection.info.server_version < 150_000 or golden.bytes <= SMALL_BYTES:
        return None
    if golden.prepared or not before.writes or before.epoch != now.epoch:
        return None
    busy = scalar(
        connection,
        "SELECT count(*) FROM pg_stat_activity WHERE datid = %s AND pid <> pg_backend_pid() "
        # An ordinary role cannot see the state of other roles' sessions: unknown counts as busy.
        "AND (backend_type = 'client backend' AND state = 'idle' AND state_change < to_timestamp(%s)) IS NOT TRUE",
        [golden.oid, float(before.at)],
    )
    # Read the counters again after the sessions: a session that wrote and ended in between has updated them.
    after = read_baseline(connection, golden.oid)
    if busy or (after.writes, after.reset) != (before.writes, before.reset):
        return None
    return "counters"
