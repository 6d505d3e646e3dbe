"""
Parking: a worktree's databases are renamed and closed rather than dropped, so that they can be brought back.

A rename keeps rows, settings and privileges, and takes milliseconds whatever the size. Everything that one call
does is one transaction: killed at any point, all of the databases are parked, or none is. Nobody can connect to
one meanwhile, as RENAME keeps logins waiting; who waited is told that there is no such database.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.copy import evict
from tasks_lib.databases.ownership import comment
from tasks_lib.databases.ownership.comment import TOOL, set_comment
from tasks_lib.databases.ownership.managed import ManagedDatabase, list_managed
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import allow_connections, rename_database
from tasks_lib.errors import DatabaseError, OwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment, Role
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.server.connection import Server


@dataclass(frozen=True)
class Parked:
    """A parked database: the name that it bears now, the one that it had, and its size on disk."""

    name: str
    database: str
    bytes: int


@dataclass(frozen=True)
class Replaced:
    """What `replace` did: the parked database's name, empty where none was in the place; and publishing's warnings."""

    parked: str
    warnings: list[str]


def park(
    server: Server,
    *,
    repository: str,
    slug: str,
    now: str,
    report: Callable[[str], object],
    only: Collection[str] | None = None,
) -> list[Parked]:
    """
    Park this worktree's databases, its companions too, whatever they are called by now; end the sessions in them.

    What an interrupted DROP DATABASE has left is dropped.

    Returns:
        What is parked at that moment, also by a call that was killed.

    Args:
        now: The time, in ISO 8601; `unpark` finds them by it.
        report: Is told whose sessions are ended.
        only: The names of those to park.

    Raises:
        DatabaseError: If one cannot be renamed; none is parked then.
    """
    with server.building() as connection:
        with _alone(connection, repository, slug):
            ours = _ours(connection, repository, slug, "clone")
            chosen = [one for one in ours if only is None or one.name in only]
            usable = [one for one in chosen if not one.invalid]
            for one in usable:
                require_no_prepared(connection, one.name)
            parked = [
                Parked(one.name, one.mark.database, one.bytes)
                for one in _ours(connection, repository, slug, "parked")
                if one.mark.parked == now
            ]
            parked += [_park(server, connection, one, now, report) for one in usable]
        for one in chosen:
            if one.invalid:
                comment.drop(connection, one.name, repository=repository, slug=slug, role="clone", golden="")
    return parked


def unpark(
    server: Server, *, repository: str, slug: str, parked: str, now: str, report: Callable[[str], object]
) -> list[str]:
    """
    Bring back what this worktree parked at the moment *parked*; return the names that are borne again.

    A clone that the worktree has made meanwhile is parked for it. Where nothing of that moment is parked,
    as after a call that was killed in its last moment, nothing is done.

    Args:
        now: The time, in ISO 8601.
        report: Is told whose sessions are ended.

    Raises:
        OwnershipError: If one of the names belongs to anything else.
        DatabaseError: If one cannot be renamed; nothing is changed then.
    """
    with server.building() as connection, _alone(connection, repository, slug):
        back = [one for one in _ours(connection, repository, slug, "parked") if one.mark.parked == parked]
        present = {one.name: one for one in _ours(connection, repository, slug, "clone")}
        in_the_way = [one.mark.database for one in back if comment.exists(connection, one.mark.database)]
        for name in in_the_way:
            if name not in present:
                raise OwnershipError(
                    f"database `{name}` is in the way of what was parked",
                    why="it is not this worktree's clone",
                    hint="rename it, then run the same command",
                )
            require_no_prepared(connection, name)
        for name in in_the_way:
            _park(server, connection, present[name], now, report)
        for one in back:
            allow_connections(connection, one.name, True)
            set_comment(connection, one.name, dataclasses.replace(one.mark, role="clone", database="", parked=""))
            rename_database(connection, one.name, one.mark.database)
        return [one.mark.database for one in back]


def publish_and_park_old(
    server: Server,
    connection: Connection[Any],
    golden: Golden | None,
    temporary: str,
    final: str,
    mark: OwnershipComment,
    *,
    now: str,
    report: Callable[[str], object],
) -> Replaced:
    """
    Publish *temporary* as *final*, like `publish.publish`, and park the database that bears the name.

    One transaction: the name leads to the old one, or to the new one, never to neither. `unpark` at
    the moment *now* brings the old one back.

    Args:
        connection: In autocommit mode; it made *temporary*.
        golden: Whose settings and privileges *temporary* gets; None where it has its own already.
        mark: The new one's; the present one must be of the same repository and worktree.
        now: The time, in ISO 8601.
        report: Is told whose sessions are ended.

    Raises:
        OwnershipError: If *final* is not this worktree's clone.
        DatabaseError: If it cannot be renamed; nothing is changed then.
    """
    # Not below: within a transaction, the server shows the same sessions again and again.
    comment.await_no_sessions(connection, temporary)
    with _alone(connection, mark.repository, mark.slug):
        parked = ""
        if comment.exists(connection, final):
            comment.require_ours(connection, final, repository=mark.repository, slug=mark.slug, role="clone")
            require_no_prepared(connection, final)
            present = next(one for one in list_managed(connection, mark.repository) if one.name == final)
            parked = _park(server, connection, present, now, report).name
        return Replaced(parked, publish(connection, golden, temporary, final, mark))


def has_active_database(server: Server, repository: str, slug: str) -> bool:
    """Whether this worktree has a database that is not parked."""
    with server.connect() as connection:
        return bool(_ours(connection, repository, slug, "clone"))


def parked_name(connection: Connection[Any], name: str, now: str) -> str:
    """Return what the database *name* is called when it is parked *now*; a free name of at most 63 bytes."""
    stamp = "_parked_" + "".join(character for character in now[:19] if character.isdigit())
    suffixes = chain([stamp], (f"{stamp}_{number}" for number in count(2)))
    names = (name.encode()[: 63 - len(suffix)].decode(errors="ignore") + suffix for suffix in suffixes)
    return next(parked for parked in names if not comment.exists(connection, parked))


def require_no_prepared(connection: Connection[Any], name: str) -> None:
    """
    Make sure that no prepared transaction holds *name*: such a one has no session that could be ended.

    Raises:
        DatabaseError: If one does.
    """
    found = scalar(connection, "SELECT gid FROM pg_prepared_xacts WHERE database = %s", [name])
    if found is not None:
        raise DatabaseError(
            f"a prepared transaction holds `{name}`",
            hint=f"psql {name} -c \"ROLLBACK PREPARED '{found}'\"  # or COMMIT PREPARED",
        )


@contextmanager
def _alone(connection: Connection[Any], repository: str, slug: str) -> Iterator[None]:
    """One transaction, in which nobody else parks or brings back this worktree's databases."""
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '10s'")
        key = f"{TOOL} databases of {repository} {slug}"
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
        yield


def _ours(connection: Connection[Any], repository: str, slug: str, role: Role) -> list[ManagedDatabase]:
    """Return this worktree's databases of that *role*, but not one that somebody has made a golden template."""
    everything = list_managed(connection, repository)
    golden = {one.mark.golden for one in everything}
    return [one for one in everything if (one.mark.slug, one.mark.role) == (slug, role) and one.name not in golden]


def _park(
    server: Server, connection: Connection[Any], one: ManagedDatabase, now: str, report: Callable[[str], object]
) -> Parked:
    """Park *one* in the caller's transaction, which has proven that it is ours."""
    from psycopg import sql

    name = parked_name(connection, one.name, now)
    if one.sessions:
        report(f"ending {one.sessions} session{'s' if one.sessions > 1 else ''} in {one.name}")
    away = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(one.name), sql.Identifier(name))
    evict.run_exclusively(server, connection, one.name, away, busy=True)
    set_comment(connection, name, dataclasses.replace(one.mark, role="parked", database=one.name, parked=now))
    allow_connections(connection, name, False)
    return Parked(name, one.name, one.bytes)
