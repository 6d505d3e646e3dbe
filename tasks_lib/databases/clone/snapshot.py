"""
Take, list and drop snapshots: frozen copies of golden that accept no connections, so they can be cloned at any time.

A snapshot's ownership comment has golden's fingerprint at the instant that the snapshot shows. While golden has that
fingerprint, a clone of the snapshot is a clone of golden. Of several concurrent processes, the first builds a snapshot;
the others wait, and use it if it shows an instant after their own request. The previous snapshot is kept until then,
and dropped later in the background.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone.preflight import require_copyable
from tasks_lib.databases.compare import fingerprint, freshness
from tasks_lib.databases.copy import fill
from tasks_lib.databases.ownership import temporaries
from tasks_lib.databases.ownership.advisory_lock import advisory_lock, advisory_unlock
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.ownership.golden_template import require_golden, require_space
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import rename_database
from tasks_lib.databases.server.sessions import await_no_sessions, await_readers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment, Role
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.proof import Proven
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.waiting.sessions import Session


@dataclass(frozen=True)
class Snapshot:
    """
    A frozen copy of golden.

    Attributes:
        fingerprint: Golden's fingerprint when it was taken.
        taken_at: The instant that it shows, by the server's clock.
    """

    name: str
    oid: int
    fingerprint: str
    taken_at: datetime

    @property
    def time(self) -> str:
        """When it was taken, in local time: `14:05`, with the date if that is not today."""
        local = self.taken_at.astimezone()
        return f"{local:%H:%M}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def list_snapshots(source: Source, connection: Connection[Any], golden: Golden) -> list[Snapshot]:
    """Return this repository's snapshots of *golden*, the newest first."""
    found = []
    for copy in source.list_copies(connection, "snapshot", golden.oid, usable=True):
        taken_at = datetime.fromisoformat(copy.comment.created_at).astimezone()
        found.append(Snapshot(copy.name, copy.oid, copy.comment.fingerprint, taken_at))
    return sorted(found, key=lambda taken: taken.taken_at, reverse=True)


def reuse_or_take(
    source: Source,
    connection: Connection[Any],
    golden: Golden,
    accept: Callable[[Snapshot], bool],
    report: Callable[[str], object],
    *,
    evict_idle: bool = False,
) -> Snapshot:
    """
    Return a snapshot that *accept* accepts; build one unless another process has just done so.

    Older ones are left for `drop_outdated`, because DROP DATABASE makes the server write a checkpoint first.

    Args:
        report: Called with a line of text for anything that takes longer than a second.
        evict_idle: End idle sessions on golden rather than dump it.

    Raises:
        LockWaitError: If another session has the turn to build one, and makes no progress.
        DatabaseError: If it cannot be built; the previous one is kept.
    """
    with _take_turn(source, connection, golden):
        newest = next(filter(accept, list_snapshots(source, connection, golden)), None)
        if newest is not None:
            return newest
        # Sessions on golden may have ended while we waited.
        await_readers(connection, golden.name)
        golden = require_golden(connection, golden.name)
        require_space(connection, golden, copies=2)  # the snapshot and the clone
        require_copyable(source, connection, golden, fresh=True, evict_idle=evict_idle)
        return _build(source, connection, golden, report, evict_idle=evict_idle)


def ensure_snapshot(
    source: Source, report: Callable[[str], object], *, fresh: bool, evict_idle: bool
) -> tuple[Snapshot, bool]:
    """
    Return a current snapshot of golden, and whether this call built it; drop older ones.

    Args:
        fresh: Build one even if golden has not changed since the newest.
        evict_idle: End idle sessions on golden rather than dump it.

    Raises:
        DatabaseError: If it cannot be built.
    """
    with source.server.connect_for_ddl() as connection:
        golden = require_golden(connection, source.golden)
        temporaries.drop_abandoned(source, connection)
        asked = freshness.read_baseline(connection, golden.oid)
        digest = "" if fresh else freshness.read_current_fingerprint(source, golden, asked).found.digest

        def accept(other: Snapshot) -> bool:
            return other.taken_at >= asked.read_at or other.fingerprint == digest != ""

        taken = reuse_or_take(source, connection, golden, accept, report, evict_idle=evict_idle)
        drop_outdated(source, connection, taken)
    return taken, taken.taken_at >= asked.read_at


def drop_outdated(source: Source, connection: Connection[Any], current: Snapshot | None) -> list[str]:
    """
    Drop this repository's snapshots of golden other than *current*, and spares made from them; return their names.

    A snapshot that is being copied is skipped. Copies of a previous golden template of the same name are dropped too.
    """
    from psycopg import errors

    dropped = []
    roles: tuple[Role, ...] = ("snapshot", "spare")
    for role in roles:
        for copy in source.list_copies(connection, role):
            if copy.comment.golden != source.golden or (current and _is_current(copy, current)):
                continue
            connection.execute("SET lock_timeout = '2s'")
            with suppress(errors.LockNotAvailable, errors.ObjectInUse):
                source.drop(connection, copy.name, role)
                dropped.append(copy.name)
            connection.execute("RESET lock_timeout")
    return dropped


def _is_current(copy: Proven, current: Snapshot) -> bool:
    """Whether *copy* is the snapshot *current* itself, a newer one, or a spare of it."""
    if copy.comment.role == "spare":
        return copy.comment.fingerprint == current.fingerprint
    taken_at = datetime.fromisoformat(copy.comment.created_at).astimezone()
    return copy.name == current.name or taken_at > current.taken_at


def _build(
    source: Source, connection: Connection[Any], golden: Golden, report: Callable[[str], object], *, evict_idle: bool
) -> Snapshot:
    # Before golden is read, so that a concurrent change counts as later.
    baseline = freshness.read_baseline(connection, golden.oid)
    taken_at = baseline.read_at
    with temporary_database(source, connection) as name:
        comment = source.new_comment("temporary", created_at=taken_at.isoformat())
        result = fill.copy_golden(source, connection, golden, name, comment, evict_idle=evict_idle, report=report)
        found = result.fingerprint
        if result.method == "template":
            # A physical copy has its original's fingerprint, and unlike golden it cannot have changed since.
            found = fingerprint.read_from(source.server, name, golden.oid)
        # The random suffix avoids the name of any existing database.
        final = f"{source.prefix('snapshot', golden.oid)}{found.digest[:16]}_{secrets.token_hex(4)}"
        oid = _freeze(
            source,
            connection,
            name,
            final,
            source.new_comment("snapshot", created_at=taken_at.isoformat(), fingerprint=found.digest),
        )
    freshness.cache_fingerprint(source, golden, found, baseline)
    return Snapshot(final, oid, found.digest, taken_at)


def _freeze(source: Source, connection: Connection[Any], temporary: str, final: str, comment: OwnershipComment) -> int:
    """Close the finished database *temporary* to all connections and publish it as *final*; return its oid."""
    from psycopg import sql

    database = sql.Identifier(temporary)
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
    # The background workers of some extensions (TimescaleDB, pg_cron) connect to every database.
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [temporary])
    await_no_sessions(connection, temporary)
    with connection.transaction():
        oid = set_comment(connection, source.signer, temporary, comment)
        connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(database))
        rename_database(connection, temporary, final)
    return oid


@contextmanager
def _take_turn(source: Source, connection: Connection[Any], golden: Golden) -> Iterator[None]:
    """Let one process at a time build a snapshot; the session holds the lock, so killing the process releases it."""
    key = source.prefix("snapshot", golden.oid)

    def read_progress(builder: Session) -> str | None:
        return _read_progress(source, connection, golden, builder)

    purpose = f"to take a snapshot of {golden.name}"
    advisory_lock(connection, source.signer, key, purpose=purpose, read_progress=read_progress)
    try:
        yield
    finally:
        if not connection.closed:
            advisory_unlock(connection, source.signer, key)


def _read_progress(source: Source, connection: Connection[Any], golden: Golden, builder: Session) -> str | None:
    """
    Return a text that changes while *builder*, the session of another process, builds a snapshot; None if unknown.

    The database under construction grows, or the server runs a statement for one of the sessions that work on it. A
    session that waits for its client does not count: that client may be stopped.
    """
    from psycopg import Error

    names = list(temporaries.list_recorded(source, connection))
    with suppress(Error):  # a database is being dropped
        return str(
            scalar(
                connection,
                "SELECT concat_ws(' ', "
                "(SELECT sum(pg_database_size(oid)) FROM pg_database WHERE datname = ANY(%(names)s)), "
                "(SELECT string_agg(concat_ws(' ', pid, state_change, CASE WHEN state = 'active' "
                "AND wait_event_type IS DISTINCT FROM 'Client' THEN clock_timestamp() END), ',' ORDER BY pid) "
                "FROM pg_stat_activity WHERE usename = session_user AND (pid = %(pid)s OR datname = ANY(%(names)s) "
                "OR datname = %(golden)s AND application_name IN ('pg_dump', %(application)s))))",
                {"names": names, "pid": builder.pid, "golden": golden.name, "application": builder.application},
            )
        )
    return None
