"""
Find and drop databases of this repository that are no longer needed.

They are found by their ownership comments, and checked again right before each is dropped. No session is ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, LiteralString

from tasks_lib.databases.ownership import temporaries
from tasks_lib.databases.ownership.advisory_lock import advisory_unlock, try_advisory_lock
from tasks_lib.databases.ownership.comment import read_clock
from tasks_lib.databases.ownership.drop import drop_owned, drop_temporary
from tasks_lib.databases.ownership.managed import list_managed
from tasks_lib.databases.ownership.proof import Proven, Unproven, is_owner_trusted, look_up
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import database_exists
from tasks_lib.errors import DatabaseError, OwnershipError
from tasks_lib.output import format_age

if TYPE_CHECKING:
    from collections.abc import Collection

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment, Role
    from tasks_lib.databases.ownership.managed import ManagedDatabase
    from tasks_lib.databases.ownership.source import Source

_MAKER_DIED = "the process that was making it has died"

_CONNECTED: LiteralString = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND backend_type IS DISTINCT FROM 'autovacuum worker'"
)

_MINIMUM_AGE = timedelta(hours=1)
"""A clone may exist before the worktree's record can be seen."""


@dataclass(frozen=True)
class Leftover:
    """
    A database that is no longer needed.

    Attributes:
        kind: Its role; `invalid` for any database that an interrupted DROP DATABASE has left.
        bytes: Size on disk; 0 if our role may not read it.
        reason: Why it is no longer needed.
        sessions: Number of connected sessions; with any, it is not dropped.
        comment: Its ownership comment; None if its maker died before writing it, and only its recorded name proves that
            it is ours.
    """

    kind: Role | Literal["invalid"]
    name: str
    bytes: int
    reason: str
    sessions: int
    comment: OwnershipComment | None


def find_leftovers(
    source: Source,
    *,
    live: Collection[str],
    keep: timedelta,
    templates: Collection[str] = (),
    now: datetime | None = None,
) -> list[Leftover]:
    """
    Return this repository's databases that are no longer needed, by name.

    Args:
        live: The slugs of all worktrees with a record, in whatever state.
        keep: How long parked databases are kept.
        templates: The golden templates in use besides that of *source*.
        now: The current time, with its zone; by default by the server's clock, which dated the comments.

    Raises:
        ServerError: If the server cannot be reached.
    """
    goldens = {source.golden, *templates}
    with source.server.connect() as connection:
        instant = now or datetime.fromisoformat(read_clock(connection))
        oids: dict[str, int] = dict(connection.execute("SELECT datname, oid::int8 FROM pg_database").fetchall())

        def find_reason(database: ManagedDatabase) -> str:
            if database.invalid:
                return "an interrupted DROP DATABASE left it behind"
            if database.comment.role == "temporary":
                return _MAKER_DIED if _is_unlocked(source, connection, database.name) else ""
            if database.comment.role == "parked":
                return _reason_for_parked(database.comment, keep, instant)
            if database.comment.role == "clone":
                return _reason_for_clone(database.comment, live, instant)
            return _reason_for_copy(source, database, oids, goldens)

        ours = [
            (database, find_reason(database))
            for database in list_managed(connection, source.signer)
            if database.name not in goldens
        ]
        uncommented = [
            name
            for name, golden in temporaries.list_recorded(source, connection).items()
            if name in oids and _is_bare(source, connection, name, golden) and _is_unlocked(source, connection, name)
        ]
    found = [
        Leftover(
            "invalid" if database.invalid else database.comment.role,
            database.name,
            database.bytes,
            reason,
            database.sessions,
            database.comment,
        )
        for database, reason in ours
        if reason
    ]
    found += [Leftover("temporary", name, 0, _MAKER_DIED, 0, None) for name in uncommented]
    return sorted(found, key=lambda leftover: leftover.name)


def drop_leftover(source: Source, leftover: Leftover) -> bool:
    """
    Drop *leftover* if it has not changed since it was found; return whether it existed.

    The caller makes sure that no worktree of its slug is created at the same time.

    Raises:
        OwnershipError: If its ownership comment has changed, or it is not provably ours.
        DatabaseError: If a session is connected to it, or another process is building it.
    """
    name, comment = leftover.name, leftover.comment
    with source.server.connect_for_ddl() as connection:
        if not database_exists(connection, name):
            return False
        found = look_up(connection, source.signer, name)
        if (found.comment if isinstance(found, Proven) else None) != comment:
            raise OwnershipError(
                f"the ownership comment of database `{name}` has changed", hint="run the same command again"
            )
        if scalar(connection, _CONNECTED, [name]):
            raise DatabaseError(f"a session is connected to `{name}`", hint="disconnect it, then run the same command")
        connection.execute("SET lock_timeout = '2s'")
        if comment is None or comment.role == "temporary":
            # Held until the connection ends.
            if not try_advisory_lock(connection, source.signer, name):
                raise DatabaseError(f"another process is using `{name}`")
            recorded = temporaries.list_recorded(source, connection).get(name, "")
            return drop_temporary(connection, name, signer=source.signer, golden=recorded, force=False)
        return drop_owned(connection, name, source.owner(comment.slug), comment.role, golden=source.golden, force=False)


def _reason_for_parked(comment: OwnershipComment, keep: timedelta, now: datetime) -> str:
    if not _is_older(comment.parked_at, keep, now):
        return ""
    return f"parked on {comment.parked_at[:10]}, kept for {format_age(keep.total_seconds())}"


def _reason_for_clone(comment: OwnershipComment, live: Collection[str], now: datetime) -> str:
    if comment.slug in live or not _is_older(comment.created_at, _MINIMUM_AGE, now):
        return ""
    return f"no worktree has the slug `{comment.slug}`"


def _reason_for_copy(source: Source, database: ManagedDatabase, oids: dict[str, int], goldens: Collection[str]) -> str:
    """Return why a snapshot or spare is not needed; its name begins with a prefix made from its golden's oid."""
    template = database.comment.golden
    if template not in goldens:
        return f"`{template}` is not a golden template of this repository"
    if template not in oids:
        return f"its golden template `{template}` does not exist"
    if not database.name.startswith(source.prefix(database.comment.role, oids[template])):
        return f"another golden template has replaced its `{template}`"
    return ""


def _is_older(instant: str, than: timedelta, now: datetime) -> bool:
    try:
        return now - datetime.fromisoformat(instant).astimezone() > than
    except ValueError:  # a user edited the comment
        return False


def _is_bare(source: Source, connection: Connection[Any], name: str, golden: str) -> bool:
    """Whether the recorded temporary database *name* has no comment yet, and the right owner."""
    found = look_up(connection, source.signer, name)
    return isinstance(found, Unproven) and found.bare and is_owner_trusted(connection, name, golden)


def _is_unlocked(source: Source, connection: Connection[Any], name: str) -> bool:
    """Whether no process holds the advisory lock of the temporary database *name*."""
    if free := try_advisory_lock(connection, source.signer, name):
        advisory_unlock(connection, source.signer, name)
    return free
