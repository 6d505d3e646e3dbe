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
from tasks_lib.databases.ownership.temporaries import temporary
from tasks_lib.databases.server.ddl import rename_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import Mark, Role
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


def snapshots(source: Source, connection: Connection[Any], golden: Golden) -> list[Snapshot]:
    """Return this repository's snapshots of *golden*, the newest first."""
    found = []
    for name, mark in source.made(connection, "snapshot", golden.oid, usable=True).items():
        with suppress(ValueError):  # somebody edited the comment
            found.append(Snapshot(name, mark.fingerprint, datetime.fromisoformat(mark.created).astimezone()))
    return sorted(found, key=lambda one: one.taken, reverse=True)


def refresh(
    source: Source,
    connection: Connection[Any],
    golden: Golden,
    accept: Callable[[Snapshot], bool],
    say: Callable[[str], object],
    *,
    evicting: bool = False,
) -> Snapshot:
    """
    Return a snapshot that *accept* accepts, built now unless another process has just done so.

    The ones before it are left to `sweep`: a DROP DATABASE makes the server write out everything first.

    Args:
        say: Is told what takes long.
        evicting: End idle sessions on golden rather than dump it.

    Raises:
        DatabaseError: If it cannot be built; the one before it is still there then.
    """
    with _alone(source, connection, golden, say):
        newest = next(filter(accept, snapshots(source, connection, golden)), None)
        if newest is not None:
            return newest
        # Who was connected when we began may have left while we waited.
        comment.await_readers(connection, golden.name)
        golden = require_golden(connection, golden.name)
        require_space(connection, golden, copies=2)  # the snapshot, and what it was taken for
        return _build(source, connection, golden, say, evicting=evicting)


def ensure(source: Source, say: Callable[[str], object], *, fresh: bool, evicting: bool) -> tuple[Snapshot, bool]:
    """
    Return a snapshot of golden as it is now, and whether it was built for this; drop the ones before it.

    Args:
        fresh: Build one even if golden has not changed since the last.
        evicting: End idle sessions on golden rather than dump it.

    Raises:
        DatabaseError: If it cannot be built.
    """
    with source.server.building() as connection:
        temporaries.sweep(source, connection)
        golden = require_golden(connection, source.golden)
        asked = freshness.read_baseline(connection, golden.oid)
        digest = "" if fresh else freshness.examine(source, golden, asked).found.digest

        def accept(other: Snapshot) -> bool:
            return other.taken >= asked.moment or other.fingerprint == digest != ""

        taken = refresh(source, connection, golden, accept, say, evicting=evicting)
        sweep(source, connection, taken)
    return taken, taken.taken >= asked.moment


def sweep(source: Source, connection: Connection[Any], current: Snapshot | None) -> list[str]:
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


def _is_good_beside(name: str, mark: Mark, current: Snapshot) -> bool:
    """Whether *name* is as good as the snapshot *current*: that itself, a newer one, or a spare of it."""
    if mark.role == "spare":
        return mark.fingerprint == current.fingerprint
    with suppress(ValueError):
        return name == current.name or datetime.fromisoformat(mark.created).astimezone() > current.taken
    return False


def _build(
    source: Source, connection: Connection[Any], golden: Golden, say: Callable[[str], object], *, evicting: bool
) -> Snapshot:
    # Before golden is read, so that what happens meanwhile counts as later.
    baseline = freshness.read_baseline(connection, golden.oid)
    taken = baseline.moment
    with temporary(source, connection) as name:
        mark = source.mark("temporary", created=taken.isoformat())
        filled = fill.from_golden(source.server, connection, golden, name, mark, evicting=evicting, say=say)
        found = filled.found
        if filled.method == "template":
            # A physical copy has its original's fingerprint, and only the copy is certain not to have changed since.
            found = fingerprint.of(source.server, name, golden.oid)
        # The end is of chance: whoever else has a database of that name keeps it.
        final = f"{source.prefix('snapshot', golden.oid)}{found.digest[:16]}_{secrets.token_hex(4)}"
        built = Snapshot(final, found.digest, taken)
        _freeze(connection, name, built, source.mark("snapshot", created=taken.isoformat(), fingerprint=found.digest))
    freshness.remember(source, golden, found, baseline)
    return built


def _freeze(connection: Connection[Any], temporary: str, built: Snapshot, mark: Mark) -> None:
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
def _alone(source: Source, connection: Connection[Any], golden: Golden, say: Callable[[str], object]) -> Iterator[None]:
    """Be the only one who refreshes; the session holds the lock, so it goes with a killed process."""
    key = source.prefix("snapshot", golden.oid)
    if not try_advisory_lock(connection, key):
        say(f"waiting for another process, which takes a snapshot of {golden.name}")
        advisory_lock(connection, key, patience="0")
    try:
        yield
    finally:
        if not connection.closed:
            advisory_unlock(connection, key)
