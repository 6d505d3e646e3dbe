"""
Freshness: golden's fingerprint, with less work where it can be proven to be what it was.

The last fingerprint is remembered together with the state of the server just before it was read.
Two proofs are tried against that state before everything is read again:

- no transaction has ended on the whole server since;
- nobody wrote to golden since: its sessions have been idle for longer, and its counters of written
  rows stand still. A session betrays itself by one or the other: its activity is visible at once,
  and its counters arrive before it is gone (PostgreSQL 15 on; before, they could get lost). Only a
  superuser who switches `track_counts` off for one session, writes and leaves is not seen.

Sequences and the shared catalogs move without either, so they are read every time.

Of processes that ask at the same time one reads; what was read after the others had asked is as good
for them.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.compare import fingerprint
from tasks_lib.databases.compare.fingerprint import Fingerprint
from tasks_lib.databases.ownership.comment import READER
from tasks_lib.databases.ownership.golden_template import SMALL_BYTES
from tasks_lib.databases.server.connection import scalar
from tasks_lib.files import LockHeldError, atomic_write, file_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg import Connection

    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source

_TURN_SECONDS = 10.0

_LOCK_TIMEOUT = "200ms"
"""A relation that is locked for longer is being changed."""


@dataclass(frozen=True)
class Baseline:
    """
    The state of the server at one moment, as far as it tells whether golden changed.

    Attributes:
        epoch: Differs after a restart and after a crash, which empties unlogged tables and forgets the counters.
        at: The server's clock, in seconds since 1970; as text, which keeps every digit.
        transactions: Which ones had ended.
        writes: Rows inserted, updated and deleted in golden since its counters were *reset*; 0 where nobody counts.
    """

    epoch: str
    at: str
    transactions: str
    writes: int
    reset: str

    @property
    def moment(self) -> datetime:
        """When it was read, by the server's clock."""
        return datetime.fromtimestamp(float(self.at), UTC)


@dataclass(frozen=True)
class Freshness:
    """
    Golden's fingerprint now.

    Attributes:
        how: What told: `transactions`, `counters`, `fingerprint` where everything was read, or `shared` where another
            process has just found it.
    """

    found: Fingerprint
    how: str


def read_current_fingerprint(source: Source, golden: Golden, asked: Baseline) -> Freshness:
    """
    Return golden's fingerprint as it is now, or why it cannot be known.

    Args:
        asked: The state of the server when it was asked for.

    Raises:
        DatabaseError: If golden cannot be connected to.
    """
    with _in_turn(source, golden):
        remembered = _recall(source, golden)
        if remembered and remembered[1].epoch == asked.epoch and float(remembered[1].at) >= float(asked.at):
            return Freshness(remembered[0], "shared")
        return _examine(source, golden, remembered)


def _examine(source: Source, golden: Golden, remembered: tuple[Fingerprint, Baseline] | None) -> Freshness:
    from psycopg import errors

    with source.server.connect(golden.name) as inside:
        # Read before the fingerprint: what changes in between counts as changed.
        baseline = read_baseline(inside, golden.oid)
        how = _proof(inside, golden, remembered[1], baseline) if remembered else None
        begin = f"{fingerprint.BEGIN}; SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"
        inside.execute(f"SET application_name = '{READER}'; {begin}".encode())
        try:
            if remembered and how and fingerprint.read_outside(inside, golden.oid) == remembered[0].outside:
                found = remembered[0]
            else:
                found, how = fingerprint.read(inside, golden.oid), "fingerprint"
        # The second is a relation that was dropped after it was listed.
        except (errors.LockNotAvailable, errors.UndefinedTable) as error:
            return Freshness(Fingerprint("", obstacle=f"it is being changed ({error.diag.message_primary})"), "")
    cache_fingerprint(source, golden, found, baseline)
    return Freshness(found, how)


@contextmanager
def _in_turn(source: Source, golden: Golden) -> Iterator[None]:
    """Be the only process of this repository that reads golden, unless another takes unusually long."""
    source.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as turn:
        with suppress(LockHeldError):
            turn.enter_context(file_lock(_memory(source, golden).with_suffix(".lock"), timeout=_TURN_SECONDS))
        yield


def looks_unchanged(source: Source, golden: Golden, now: Baseline) -> bool:
    """Whether nobody seems to have written to golden: no proof, but a guess that costs nothing."""
    remembered = _recall(source, golden)
    return remembered is not None and (now.epoch, now.writes) == (remembered[1].epoch, remembered[1].writes)


def read_baseline(connection: Connection[Any], oid: int) -> Baseline:
    """Read the baseline for the database *oid*."""
    row = connection.execute(
        "SELECT concat_ws(' ', (SELECT system_identifier FROM pg_control_system()), "
        "extract(epoch FROM pg_postmaster_start_time()), "
        # Everyone may read this one, and a crash resets it (pgstat_reset_after_failure, pgstat.c).
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
    """Keep *found* and the *baseline* that was read before it."""
    if not found.digest:
        return
    path = _memory(source, golden)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps({"oid": golden.oid, **asdict(found), **asdict(baseline)}))


def _memory(source: Source, golden: Golden) -> Path:
    return source.folder / f"fingerprint-{golden.oid}.json"


def _recall(source: Source, golden: Golden) -> tuple[Fingerprint, Baseline] | None:
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        data = json.loads(_memory(source, golden).read_text(encoding="utf-8"))
        if data.pop("oid") == golden.oid:
            found = Fingerprint(data.pop("digest"), data.pop("outside"), data.pop("obstacle"))
            return found, Baseline(**data)
    return None


def _proof(connection: Connection[Any], golden: Golden, before: Baseline, now: Baseline) -> str | None:
    """Return what proves that no transaction has changed golden between *before* and *now*, None if nothing does."""
    if replace(now, at=before.at) == before:
        return "transactions"
    # Where everything is read in no time, the longer proof is not worth its words.
    if connection.info.server_version < 150_000 or golden.bytes <= SMALL_BYTES:
        return None
    if golden.prepared or not before.writes or before.epoch != now.epoch:
        return None
    busy = scalar(
        connection,
        "SELECT count(*) FROM pg_stat_activity WHERE datid = %s AND pid <> pg_backend_pid() "
        # Of other roles' sessions an ordinary role sees neither: unknown counts as busy.
        "AND (backend_type = 'client backend' AND state = 'idle' AND state_change < to_timestamp(%s)) IS NOT TRUE",
        [golden.oid, float(before.at)],
    )
    # The counters once more, after the sessions: whoever wrote and left in between has counted by now.
    after = read_baseline(connection, golden.oid)
    if busy or (after.writes, after.reset) != (before.writes, before.reset):
        return None
    return "counters"
