"""
Park and restore a worktree's databases: rename and close them instead of dropping them.

A rename keeps rows, settings and privileges, and takes milliseconds at any size. Each call is one transaction: if it is
killed, either all databases are parked or none is. RENAME blocks new logins; blocked clients then get
"database does not exist".
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from msgspec import structs

from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.copy import evict
from tasks_lib.databases.ownership.advisory_lock import advisory_lock
from tasks_lib.databases.ownership.comment import Owner, read_clock, set_comment
from tasks_lib.databases.ownership.drop import drop_owned
from tasks_lib.databases.ownership.golden_template import (
    describe_database,
    format_membership_hint,
    require_may_create,
    require_primary,
)
from tasks_lib.databases.ownership.managed import ManagedDatabase, list_claimed, list_managed
from tasks_lib.databases.ownership.proof import find_ours
from tasks_lib.databases.server.connection import TOOL, scalar
from tasks_lib.databases.server.ddl import allow_connections, database_exists, rename_database
from tasks_lib.databases.server.sessions import await_no_sessions
from tasks_lib.errors import DatabaseError, OwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment, Role
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.signer import Signer
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.connection import Server


@dataclass(frozen=True)
class Parked:
    """A parked database: its new name, its previous name *database*, and its size on disk."""

    name: str
    database: str
    bytes: int


@dataclass(frozen=True)
class Replaced:
    """The result of `publish_and_park_old`: the parked database's name, empty for none, and publishing's warnings."""

    parked: str
    warnings: list[str]


def park(
    server: Server,
    owner: Owner,
    *,
    removed_at: str,
    report: Callable[[str], object],
    only: Collection[str] | None = None,
) -> list[Parked]:
    """
    Park this worktree's databases, companions included, whatever their names; end the sessions in them.

    Databases that an interrupted DROP DATABASE has left are dropped.

    Returns:
        All databases parked for *removed_at*, including those of an earlier call that was killed.

    Args:
        removed_at: The timestamp of the removal record; `unpark` finds them by it.
        report: Called with a line of text when sessions are ended.
        only: Park only databases with these names.

    Raises:
        ServerError: If the server is a standby.
        DatabaseError: If one cannot be renamed; none is parked.
    """
    with server.connect_for_ddl() as connection:
        require_primary(connection)
        with _exclusive_transaction(connection, owner):
            chosen = [
                database
                for database in _list_owned(connection, owner, "clone")
                if only is None or database.name in only
            ]
            usable = [database for database in chosen if not database.invalid]
            for database in usable:
                require_no_prepared(connection, database.name)
            parked = [
                Parked(database.name, database.comment.database, database.bytes)
                for database in _list_owned(connection, owner, "parked", removed_at)
            ]
            parked += [_park(server, owner.signer, connection, database, removed_at, report) for database in usable]
        for database in chosen:
            if database.invalid:
                drop_owned(connection, database.name, owner, "clone", golden="")
    return parked


def check_unpark(server: Server, owner: Owner, *, removed_at: str) -> None:
    """
    Check that our role may restore the databases that this worktree parked for *removed_at*; nothing is changed.

    Raises:
        ServerError: If the server is a standby.
        DatabaseError: If our role may not rename them.
    """
    with server.connect() as connection:
        for database in _list_owned(connection, owner, "parked", removed_at):
            require_may_create(connection)
            described = describe_database(connection, database.name)
            if described and not described.ours:
                raise DatabaseError(
                    f"`{database.name}` belongs to role `{described.owner}`",
                    why="only its owner may rename it",
                    hint=format_membership_hint(connection, described),
                )


def unpark(server: Server, owner: Owner, *, removed_at: str, now: str, report: Callable[[str], object]) -> list[str]:
    """
    Restore the databases that this worktree parked for *removed_at*; return the restored names.

    A clone that has one of these names is parked in turn. If nothing was parked for that removal, as when the call was
    killed just before, nothing is done.

    Args:
        removed_at: The timestamp of the removal record.
        now: The timestamp of the removal record for clones that are parked in turn.
        report: Called with a line of text when sessions are ended.

    Raises:
        OwnershipError: If a database of another owner has one of the names.
        DatabaseError: If one cannot be renamed; nothing is changed.
    """
    with server.connect_for_ddl() as connection, _exclusive_transaction(connection, owner):
        parked = _list_owned(connection, owner, "parked", removed_at)
        active = {database.name: database for database in _list_owned(connection, owner, "clone")}
        names = [database.comment.database for database in parked]
        taken = [name for name in names if database_exists(connection, name)]
        for name in taken:
            if name not in active:
                raise OwnershipError(
                    f"a database named `{name}` exists already",
                    why="it is not this worktree's clone, so the parked database cannot get its name back",
                    hint="rename it, then run the same command",
                )
            require_no_prepared(connection, name)
        for name in taken:
            _park(server, owner.signer, connection, active[name], now, report)
        for database in parked:
            allow_connections(connection, database.name, True)
            rename_database(connection, database.name, database.comment.database)
            comment = structs.replace(database.comment, role="clone", database="", parked_at="", removed_at="")
            set_comment(connection, owner.signer, database.comment.database, comment, oid=database.oid)
        return names


def publish_and_park_old(
    source: Source,
    connection: Connection[Any],
    golden: Golden | None,
    temporary: str,
    final: str,
    comment: OwnershipComment,
    *,
    removed_at: str,
    report: Callable[[str], object],
) -> Replaced:
    """
    Publish *temporary* as *final*, like `publish.publish`, and park the database that has this name.

    This is one transaction: at every moment, one of the two has the name. `unpark` with *removed_at* restores the old
    one.

    Args:
        connection: In autocommit mode; it created *temporary*.
        golden: Its settings and privileges are copied to *temporary*; None if that has been done.
        comment: The new database's ownership comment; the old one must have the same owner.
        removed_at: The timestamp of the removal record for the old one.
        report: Called with a line of text when sessions are ended.

    Raises:
        OwnershipError: If *final* is not this worktree's clone.
        DatabaseError: If it cannot be renamed; nothing is changed.
    """
    owner = source.owner(comment.slug)
    # Not in the transaction: there, pg_stat_activity does not change.
    await_no_sessions(connection, temporary)
    with _exclusive_transaction(connection, owner):
        parked = ""
        if find_ours(connection, final, owner, "clone") is not None:
            require_no_prepared(connection, final)
            managed = list_managed(connection, source.signer)
            old = next(database for database in managed if database.name == final)
            parked = _park(source.server, source.signer, connection, old, removed_at, report).name
        return Replaced(parked, publish(connection, source.signer, golden, temporary, final, comment))


def require_proven(server: Server, owner: Owner) -> None:
    """
    Refuse a database that may well be this worktree's clone, but is not provably its own: it would not be parked.

    Raises:
        OwnershipError: With what cures it.
    """
    with server.connect() as connection:
        _list_owned(connection, owner, "clone")


def has_active_database(server: Server, owner: Owner) -> bool:
    """Whether this worktree has a database that is not parked."""
    with server.connect() as connection:
        return bool(_list_owned(connection, owner, "clone"))


def parked_name(connection: Connection[Any], name: str, removed_at: str) -> str:
    """Return a free name of at most 63 bytes for the database *name*, parked for the removal of *removed_at*."""
    stamp = "_parked_" + "".join(character for character in removed_at[:19] if character.isdigit())
    suffixes = chain([stamp], (f"{stamp}_{number}" for number in count(2)))
    names = (name.encode()[: 63 - len(suffix)].decode(errors="ignore") + suffix for suffix in suffixes)
    return next(parked for parked in names if not database_exists(connection, parked))


def require_no_prepared(connection: Connection[Any], name: str) -> None:
    """
    Check that no prepared transaction holds *name*; it has no session that could be ended.

    Raises:
        DatabaseError: If one does.
    """
    found = scalar(connection, "SELECT gid FROM pg_prepared_xacts WHERE database = %s", [name])
    if found is not None:
        raise DatabaseError(
            f"a prepared transaction holds `{name}`",
            why="it has to be committed (COMMIT PREPARED) or rolled back first",
            hint=f"psql {name} -c \"ROLLBACK PREPARED '{found}'\"",
        )


@contextmanager
def _exclusive_transaction(connection: Connection[Any], owner: Owner) -> Iterator[None]:
    """Begin a transaction in which no other process parks or restores this worktree's databases."""
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '10s'")
        key, purpose = f"{TOOL} databases of {owner.repository} {owner.slug}", f"to park databases of `{owner.slug}`"
        advisory_lock(connection, owner.signer, key, purpose=purpose, transaction=True)
        yield


def _list_owned(connection: Connection[Any], owner: Owner, role: Role, removed_at: str = "") -> list[ManagedDatabase]:
    """
    Return this worktree's databases of that *role*, without one that has become a golden template.

    Args:
        removed_at: Only those parked for this removal.

    Raises:
        OwnershipError: If another one may well be among them, but is not provably this worktree's.
    """
    managed, claimed = list_claimed(connection, owner.signer)
    for claim in claimed:
        comment = claim.comment
        # Earlier versions wrote only one instant.
        same_removal = removed_at in ("", comment.removed_at or comment.parked_at)
        if claim.found.plausible and (comment.slug, comment.role) == (owner.slug, role) and same_removal:
            raise claim.found.error()
    golden = {database.comment.golden for database in managed}
    return [
        database
        for database in managed
        if (database.comment.slug, database.comment.role) == (owner.slug, role)
        and database.name not in golden
        and removed_at in ("", database.comment.removed_at)
    ]


def _park(
    server: Server,
    signer: Signer,
    connection: Connection[Any],
    database: ManagedDatabase,
    removed_at: str,
    report: Callable[[str], object],
) -> Parked:
    """Park *database* in the caller's transaction, which has proven that it is ours."""
    from psycopg import sql

    name = parked_name(connection, database.name, removed_at)
    if database.sessions:
        report(f"ending {database.sessions} session{'s' if database.sessions > 1 else ''} in {database.name}")
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(database.name), sql.Identifier(name))
    evict.run_exclusively(server, connection, database.name, rename, end_busy=True)
    comment = structs.replace(
        database.comment,
        role="parked",
        database=database.name,
        parked_at=read_clock(connection),
        removed_at=removed_at,
    )
    set_comment(connection, signer, name, comment, oid=database.oid)
    allow_connections(connection, name, False)
    return Parked(name, database.name, database.bytes)
