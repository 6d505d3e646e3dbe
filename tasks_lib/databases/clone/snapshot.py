"""
Snapshots: frozen copies of golden that nobody can connect to, so that they can be cloned at any time.

A snapshot's name holds golden's fingerprint at the moment that it shows: while golden still has that
fingerprint, a clone of the snapshot is a clone of golden. It is built once by whoever comes first;
who comes meanwhile waits, and takes it when its moment is not before their own. The one before it
stays until it is there, and is dropped when nobody waits for that.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.compare import fingerprint, freshness
from tasks_lib.databases.copy import fill
from tasks_lib.databases.ownership import comment, temporaries
from tasks_lib.databases.ownership.advisory_lock import advisory_lock, advisory_unlock, try_advisory_lock
from tasks_lib.databases.ownership.comment import await_no_sessions, set_comment
from tasks_lib.databases.ownership.golden_template import require_golden, require_space
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.ddl import rename_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment, Role
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source


@dataclass(frozen=True)
class Snapshot:
    """
    A frozen copy of golden.

    Attributes:
        fingerprint: Golden's when it was taken.
        taken: The moment that it shows, by the server's clock.
    """

    name: str
    fingerprint: str
    taken: datetime

    @property
    def time(self) -> str:
        """When it was taken, for people: the time of a day, and the day where it is not today."""
        local = self.taken.astimezone()
        return f"{local:%H:%M}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def list_snapshots(source: Source, connection: Connection[Any], golden: Golden) -> list[Snapshot]:
    """Return this repository's snapshots of *golden*, the newest first."""
    found = []
    for name, mark in source.made(connection, "snapshot", golden.oid, usable=True).items():
        with suppress(ValueError):  # somebody edited the comment
            found.append(Snapshot(name, mark.fingerprint, datetime.fromisoformat(mark.created).astimezone()))
    return sorted(found, key=lambda one: one.taken, reverse=True)


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
    Return a snapshot that *accept* accepts, built now unless another process has just done so.

    The ones before it are left to `sweep`: a DROP DATABASE makes the server write out everything first.

    Args:
        report: Is told what takes long.
        evict_idle: End idle sessions on golden rather than dump it.

    Raises:
        DatabaseError: If it cannot be built; the one before it is still there then.
    """
    with _alone(source, connection, golden, report):
        newest = next(filter(accept, list_snapshots(source, connection, golden)), None)
        if newest is not None:
            return newest
        # Who was connected when we began may have left while we waited.
        comment.await_readers(connection, golden.name)
        golden = require_golden(connection, golden.name)
        require_space(connection, golden, copies=2)  # the snapshot, and what it was taken for
        return _build(source, connection, golden, report, evict_idle=evict_idle)


def ensure_snapshot(
    source: Source, report: Callable[[str], object], *, fresh: bool, evict_idle: bool
) -> tuple[Snapshot, bool]:
    """
    Return a snapshot of golden as it is now, and whether it was built for this; drop the ones before it.

    Args:
        fresh: Build one even if golden has not changed since the last.
        evict_idle: End idle sessions on golden rather than dump it.

    Raises:
        DatabaseError: If it cannot be built.
    """
    with source.server.building() as connection:
        temporaries.drop_abandoned(source, connection)
        golden = require_golden(connection, source.golden)
        asked = freshness.read_baseline(connection, golden.oid)
        digest = "" if fresh else freshness.read_current_fingerprint(source, golden, asked).found.digest

        def accept(other: Snapshot) -> bool:
            return other.taken >= asked.moment or other.fingerprint == digest != ""

        taken = reuse_or_take(source, connection, golden, accept, report, evict_idle=evict_idle)
        drop_outdated(source, connection, taken)
    return taken, taken.taken >= asked.moment


def drop_outdated(source: Source, connection: Connection[Any], current: Snapshot | None) -> list[str]:
    """
    Drop this repository's other snapshots of golden, and the spares made from them; return their names.

    One that is just being copied is passed over. Those of a golden that bore the name before go, too.
    """
    from psycopg import errors

    dropped = []
    roles: tuple[Role, ...] = ("snapshot", "spare")
    for role in roles:
        for name, mark in source.made(connection, role).items():
            if mark.golden != source.golden or (current and _is_good_beside(name, mark, current)):
                continue
            connection.execute("SET lock_timeout = '2s'")
            with suppress(errors.LockNotAvailable, errors.ObjectInUse):
                source.drop(connection, name, role)
                dropped.append(name)
            connection.execute("RESET lock_timeout")
    return dropped


def _is_good_beside(name: str, mark: OwnershipComment, current: Snapshot) -> bool:
    """Whether *name* is as good as the snapshot *current*: that itself, a newer one, or a spare of it."""
    if mark.role == "spare":
        return mark.fingerprint == current.fingerprint
    with suppress(ValueError):
        return name == current.name or datetime.fromisoformat(mark.created).astimezone() > current.taken
    return False


def _build(
    source: Source, connection: Connection[Any], golden: Golden, report: Callable[[str], object], *, evict_idle: bool
) -> Snapshot:
    # Before golden is read, so that what happens meanwhile counts as later.
    baseline = freshness.read_baseline(connection, golden.oid)
    taken = baseline.moment
    with temporary_database(source, connection) as name:
        mark = source.mark("temporary", created=taken.isoformat())
        filled = fill.copy_golden(source.server, connection, golden, name, mark, evict_idle=evict_idle, report=report)
        found = filled.found
        if filled.method == "template":
            # A physical copy has its original's fingerprint, and only the copy is certain not to have changed since.
            found = fingerprint.read_from(source.server, name, golden.oid)
        # The end is of chance: whoever else has a database of that name keeps it.
        final = f"{source.prefix('snapshot', golden.oid)}{found.digest[:16]}_{secrets.token_hex(4)}"
        built = Snapshot(final, found.digest, taken)
        _freeze(connection, name, built, source.mark("snapshot", created=taken.isoformat(), fingerprint=found.digest))
    freshness.cache_fingerprint(source, golden, found, baseline)
    return built


def _freeze(connection: Connection[Any], temporary: str, built: Snapshot, mark: OwnershipComment) -> None:
    """Close the finished database *temporary* to everyone and publish it as *built*."""
    from psycopg import sql

    database = sql.Identifier(temporary)
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
    # Some extensions' workers (TimescaleDB's, pg_cron's) log in to every database by themselves.
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [temporary])
    await_no_sessions(connection, temporary)
    with connection.transaction():
        set_comment(connection, temporary, mark)
        connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(database))
        rename_database(connection, temporary, built.name)


@contextmanager
def _alone(
    source: Source, connection: Connection[Any], golden: Golden, report: Callable[[str], object]
) -> Iterator[None]:
    """Be the only one who refreshes; the session holds the lock, so it goes with a killed process."""
    key = source.prefix("snapshot", golden.oid)
    if not try_advisory_lock(connection, key):
        report(f"waiting for another process, which takes a snapshot of {golden.name}")
        advisory_lock(connection, key, patience="0")
    try:
        yield
    finally:
        if not connection.closed:
            advisory_unlock(connection, key)
