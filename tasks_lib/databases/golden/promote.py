"""
Make a copy of a worktree's database the golden template, and park the previous one; or restore a parked one.

The worktree keeps its own database. Both renames, golden's settings, privileges and comment are changed in one
transaction: a golden template exists at every moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import structs

from tasks_lib.databases.clone import snapshot
from tasks_lib.databases.clone.park import parked_name, require_no_prepared
from tasks_lib.databases.clone.preflight import require_copyable
from tasks_lib.databases.clone.publish import copy_settings
from tasks_lib.databases.compare import freshness
from tasks_lib.databases.copy import evict, fill
from tasks_lib.databases.ownership.comment import read_clock, set_comment
from tasks_lib.databases.ownership.golden_template import format_membership_hint, require_golden, require_space
from tasks_lib.databases.ownership.managed import list_managed
from tasks_lib.databases.ownership.proof import require_ours
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import allow_connections, rename_database
from tasks_lib.databases.server.sessions import await_no_sessions, await_readers
from tasks_lib.errors import DatabaseError, OwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.managed import ManagedDatabase
    from tasks_lib.databases.ownership.source import Source

_WAIT_UNTIL_IDLE = "wait until they have finished, then run the same command; to list all sessions:\ninv golden.status"


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion: the previous golden's new name, how the copy was made, and warnings."""

    parked: str
    method: str
    warnings: tuple[str, ...]


def check_promotion(source: Source, database: str, *, slug: str, force: bool, evict_idle: bool) -> None:
    """
    Check that the clone *database* can become the golden template; nothing is changed.

    Args:
        force: Allow it even if golden has changed since it was cloned.
        evict_idle: Allow idle sessions on golden.

    Raises:
        OwnershipError: If it is not this worktree's clone.
        DatabaseError: If our role may not rename golden, or golden is in use or has changed since it was cloned.
    """
    with source.server.connect() as connection:
        comment = require_ours(connection, database, source.owner(slug), "clone").comment
        golden = require_golden(connection, source.golden)
        require_space(connection, golden)
        require_renamable(connection, golden, evict_idle=evict_idle)
        require_copyable(source, connection, require_golden(connection, database))
        if not force:
            _require_unchanged(source, connection, golden, comment)


def promote(
    source: Source, database: str, *, slug: str, now: str, evict_idle: bool, report: Callable[[str], object]
) -> Promotion:
    """
    Make a copy of the clone *database* the golden template, after `check_promotion` has passed.

    Args:
        now: The current time in ISO 8601 with offset; it is part of the previous golden's new name.
        evict_idle: End idle sessions on golden.
        report: Called with a line of text for anything that takes longer than a second.

    Raises:
        DatabaseError: If the copy cannot be made, or golden is in use; golden is unchanged.
    """
    with source.server.connect_for_ddl() as connection:
        require_ours(connection, database, source.owner(slug), "clone")
        with temporary_database(source, connection) as name:
            original = require_golden(connection, database)
            comment = source.new_comment("temporary", slug=slug)
            result = fill.copy_golden(source, connection, original, name, comment, report=report)
            await_no_sessions(connection, name)
            await_readers(connection, source.golden)
            golden = require_golden(connection, source.golden)
            require_renamable(connection, golden, evict_idle=evict_idle)
            with connection.transaction():
                warnings = copy_settings(connection, golden, name)
                parked = swap_golden(source, connection, golden, name, now, evict_idle=evict_idle)
        # All snapshots are of the previous golden template.
        snapshot.drop_outdated(source, connection, None)
    return Promotion(parked, result.method, tuple(warnings))


def restore_golden(source: Source, name: str, *, now: str, evict_idle: bool) -> str:
    """
    Make *name*, a parked golden template, the golden template again; return the new name of the one it replaces.

    Args:
        now: The current time in ISO 8601 with offset; it is part of that new name.
        evict_idle: End idle sessions on golden.

    Raises:
        OwnershipError: If *name* is not provably a parked golden template of this repository.
        DatabaseError: If golden is in use; it is unchanged.
    """
    with source.server.connect_for_ddl() as connection:
        comment = require_ours(connection, name, source.owner(), "parked").comment
        if comment.golden != source.golden:
            raise OwnershipError(f"`{name}` was the golden template `{comment.golden}`, not `{source.golden}`")
        await_readers(connection, source.golden)
        golden = require_golden(connection, source.golden)
        require_renamable(connection, golden, evict_idle=evict_idle)
        with connection.transaction():
            allow_connections(connection, name, True)
            parked = swap_golden(source, connection, golden, name, now, evict_idle=evict_idle)
        snapshot.drop_outdated(source, connection, None)
    return parked


def list_parked_goldens(source: Source) -> list[str]:
    """Return the names of the parked golden templates, the last parked first."""
    with source.server.connect() as connection:
        managed = list_managed(connection, source.signer)
    parked = [
        database
        for database in managed
        if not database.invalid
        and (database.comment.role, database.comment.slug) == ("parked", "")
        and database.comment.golden == source.golden
    ]
    parked.sort(key=_parked_order, reverse=True)
    return [database.name for database in parked]


def _parked_order(database: ManagedDatabase) -> tuple[str, int, str]:
    # Times of earlier versions have whole seconds: within one, the names are numbered.
    number = database.name.rpartition("_parked_")[2]
    return database.comment.parked_at, len(number), number


def swap_golden(
    source: Source, connection: Connection[Any], golden: Golden, name: str, now: str, *, evict_idle: bool
) -> str:
    """
    Park *golden* and give *name* its name and comment, in the caller's transaction; return *golden*'s new name.

    Raises:
        DatabaseError, psycopg.errors.ObjectInUse: If a session that may not be ended is connected to golden.
    """
    from psycopg import sql

    new, old = sql.Identifier(name), sql.Identifier(golden.name)
    parked = parked_name(connection, golden.name, now)
    text = scalar(connection, "SELECT shobj_description(%s, 'pg_database')", [golden.oid])
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(old, sql.Identifier(parked))
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(new, sql.Literal(text)))
    if evict_idle:
        evict.run_exclusively(source.server, connection, golden.name, rename, hint=_WAIT_UNTIL_IDLE)
    else:
        connection.execute(rename)
    comment = structs.replace(
        source.new_comment("parked"), database=golden.name, parked_at=read_clock(connection), removed_at=now
    )
    set_comment(connection, source.signer, parked, comment, oid=golden.oid)
    allow_connections(connection, parked, False)
    rename_database(connection, name, golden.name)
    return parked


def require_renamable(connection: Connection[Any], golden: Golden, *, evict_idle: bool) -> None:
    """
    Check that *golden* can be renamed.

    Raises:
        DatabaseError: If our role may not rename it, or sessions that may not be ended are connected to it.
    """
    if not golden.ours:
        raise DatabaseError(
            f"`{golden.name}` belongs to role `{golden.owner}`",
            why="only its owner may rename it",
            hint=f"log in as `{golden.owner}`, or as a superuser; or {format_membership_hint(connection, golden)}",
        )
    require_no_prepared(connection, golden.name)
    if evict_idle:
        evict.require_idle(connection, golden.name, hint=_WAIT_UNTIL_IDLE)
    elif golden.sessions:
        raise DatabaseError(
            f"{golden.connected} to `{golden.name}`",
            why="a database cannot be renamed while a session is connected to it",
            hint="--evict ends idle sessions; to list all sessions:\ninv golden.status",
        )


def _require_unchanged(source: Source, connection: Connection[Any], golden: Golden, comment: OwnershipComment) -> None:
    asked = freshness.read_baseline(connection, golden.oid)
    found = freshness.read_current_fingerprint(source, golden, asked).found
    if not comment.fingerprint or found.digest != comment.fingerprint:
        raise DatabaseError(
            f"`{golden.name}` may have changed since this worktree's database was cloned on {comment.created_at[:16]}",
            why=found.obstacle or "the new golden template would lack those changes",
            hint="--force promotes it anyway; the previous golden template is parked, not dropped",
        )
