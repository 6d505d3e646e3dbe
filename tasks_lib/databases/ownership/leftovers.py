"""
Leftovers: what this repository has on the server and nobody needs any more.

They are found forwards, from the marks of its databases and what is known to be alive, and each is
proven again right before it is dropped. No session is ever ended for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, LiteralString

from tasks_lib.databases.ownership import comment, temporaries
from tasks_lib.databases.ownership.advisory_lock import advisory_unlock, try_advisory_lock
from tasks_lib.databases.ownership.managed import list_managed
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import DatabaseError, OwnershipError
from tasks_lib.output import age

if TYPE_CHECKING:
    from collections.abc import Collection

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment, Role
    from tasks_lib.databases.ownership.managed import ManagedDatabase
    from tasks_lib.databases.ownership.source import Source

_GONE = "whoever was making it is gone"

_CONNECTED: LiteralString = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND backend_type IS DISTINCT FROM 'autovacuum worker'"
)

_MINIMUM_AGE = timedelta(hours=1)
"""A clone may be there before the record that claims it can be seen."""


@dataclass(frozen=True)
class Leftover:
    """
    A database that nobody needs any more.

    Attributes:
        kind: What it was; `invalid` is what an interrupted DROP DATABASE has left of anything.
        bytes: Its size on disk; 0 where our role may not know it.
        reason: Why nobody needs it.
        sessions: How many are connected to it; with any, it is not dropped.
        mark: Its mark; None where its maker died before it had one, and the note of its name is the proof.
    """

    kind: Role | Literal["invalid"]
    name: str
    bytes: int
    reason: str
    sessions: int
    mark: OwnershipComment | None


def find_leftovers(
    source: Source, *, live: Collection[str], keep: timedelta, now: datetime, templates: Collection[str] = ()
) -> list[Leftover]:
    """
    Return what of this repository's databases nobody needs any more, by name.

    Args:
        live: The slugs of all worktrees that are recorded, in whatever state.
        keep: How long parked databases are kept.
        now: The time, aware of its zone.
        templates: The golden templates in use besides that of *source*.

    Raises:
        ServerError: If the server cannot be reached.
    """
    golden = {source.golden, *templates}
    with source.server.connect() as connection:
        oids: dict[str, int] = dict(connection.execute("SELECT datname, oid::int8 FROM pg_database").fetchall())

        def reason(one: ManagedDatabase) -> str:
            if one.invalid:
                return "an interrupted DROP DATABASE has left it"
            if one.mark.role == "temporary":
                return _GONE if _is_free(connection, one.name) else ""
            if one.mark.role == "parked":
                return _of_parked(one.mark, keep, now)
            if one.mark.role == "clone":
                return _of_clone(one.mark, live, now)
            return _of_copy(source, one, oids, golden)

        ours = [(one, reason(one)) for one in list_managed(connection, source.repository) if one.name not in golden]
        nameless = [
            name
            for name in temporaries.list_noted(source, connection)
            if name in oids and comment.read_comment(connection, name) is None and _is_free(connection, name)
        ]
    found = [
        Leftover("invalid" if one.invalid else one.mark.role, one.name, one.bytes, why, one.sessions, one.mark)
        for one, why in ours
        if why
    ]
    found += [Leftover("temporary", name, 0, _GONE, 0, None) for name in nameless]
    return sorted(found, key=lambda one: one.name)


def drop_leftover(source: Source, leftover: Leftover) -> bool:
    """
    Drop *leftover* if it still is what it was found as; return whether it was there.

    The caller sees to it that no worktree of its slug is made meanwhile.

    Raises:
        OwnershipError: If it bears another mark by now.
        DatabaseError: If somebody is connected to it, or at work on it.
    """
    name, mark = leftover.name, leftover.mark
    with source.server.building() as connection:
        if not comment.exists(connection, name):
            return False
        if comment.read_comment(connection, name) != mark:
            raise OwnershipError(f"database `{name}` has been changed meanwhile", hint="run the same command again")
        if scalar(connection, _CONNECTED, [name]):
            raise DatabaseError(f"somebody is connected to `{name}`", hint="it can be dropped once they have left")
        connection.execute("SET lock_timeout = '2s'")
        if mark is None or mark.role == "temporary":
            # Held until the connection ends.
            if not try_advisory_lock(connection, name):
                raise DatabaseError(f"another process is at work on `{name}`")
            return comment.drop_temporary(connection, name, repository=source.repository, force=False)
        return comment.drop(
            connection,
            name,
            repository=source.repository,
            slug=mark.slug,
            role=mark.role,
            golden=source.golden,
            force=False,
        )


def _of_parked(mark: OwnershipComment, keep: timedelta, now: datetime) -> str:
    # Earlier versions wrote the moment only there.
    moment = mark.parked or mark.created
    return f"parked on {moment[:10]}, kept for {age(keep.total_seconds())}" if _is_older(moment, keep, now) else ""


def _of_clone(mark: OwnershipComment, live: Collection[str], now: datetime) -> str:
    if mark.slug in live or not _is_older(mark.created, _MINIMUM_AGE, now):
        return ""
    return f"no worktree has the slug `{mark.slug}`"


def _of_copy(source: Source, one: ManagedDatabase, oids: dict[str, int], golden: Collection[str]) -> str:
    """Return why nobody needs the snapshot or spare *one*, whose name begins with what its golden's oid gives."""
    template = one.mark.golden
    if template not in golden:
        return f"`{template}` is no golden template of this repository"
    if template not in oids:
        return f"its golden template `{template}` is gone"
    if not one.name.startswith(source.prefix(one.mark.role, oids[template])):
        return f"another golden template has taken the place of its `{template}`"
    return ""


def _is_older(moment: str, than: timedelta, now: datetime) -> bool:
    try:
        return now - datetime.fromisoformat(moment).astimezone() > than
    except ValueError:  # somebody edited the comment
        return False


def _is_free(connection: Connection[Any], name: str) -> bool:
    """Whether nobody is at work on the temporary database *name*."""
    if free := try_advisory_lock(connection, name):
        advisory_unlock(connection, name)
    return free
