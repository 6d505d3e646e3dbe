"""
Promotion: a worktree's database becomes the golden template, and the one before it is parked.

The database is copied, so the worktree keeps its own. Both renames, golden's settings, privileges
and comment happen in one transaction: there is a golden template at every moment.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import snapshot
from tasks_lib.databases.clone.park import parked_name, require_no_prepared
from tasks_lib.databases.clone.publish import replay_settings
from tasks_lib.databases.compare import freshness
from tasks_lib.databases.copy import evict, fill
from tasks_lib.databases.ownership import comment as ownership
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.ownership.golden_template import require_golden, require_space
from tasks_lib.databases.ownership.managed import list_managed
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import allow_connections, rename_database
from tasks_lib.errors import DatabaseError, OwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source


@dataclass(frozen=True)
class Promotion:
    """What became of a promotion: the name that the old golden has now, how the copy was made, and warnings."""

    parked: str
    method: str
    warnings: tuple[str, ...]


def check_promotion(source: Source, database: str, *, slug: str, force: bool, evict_idle: bool) -> None:
    """
    Make sure, before any change, that the clone *database* can become the golden template.

    Raises:
        OwnershipError: If it is not this worktree's clone.
        DatabaseError: If golden is not ours to rename, is in use, or has changed since it was cloned.
    """
    with source.server.connect() as connection:
        mark = ownership.require_ours(connection, database, repository=source.repository, slug=slug, role="clone")
        golden = require_golden(connection, source.golden)
        require_space(connection, golden)
        require_renamable(connection, golden, evict_idle=evict_idle)
        if not force:
            _require_unchanged(source, connection, golden, mark)


def promote(
    source: Source, database: str, *, slug: str, now: str, evict_idle: bool, report: Callable[[str], object]
) -> Promotion:
    """
    Make a copy of the clone *database* the golden template; `examine` has passed.

    Args:
        now: The time, in ISO 8601 with offset; the old golden's new name has it.
        evict_idle: End idle sessions on golden.
        report: Is told what takes long.

    Raises:
        DatabaseError: If the copy cannot be made, or somebody uses golden; golden is what it was then.
    """
    with source.server.building() as connection:
        ownership.require_ours(connection, database, repository=source.repository, slug=slug, role="clone")
        with temporary_database(source, connection) as name:
            original = require_golden(connection, database)
            mark = source.mark("temporary", created=now, slug=slug)
            filled = fill.copy_golden(source.server, connection, original, name, mark, report=report)
            ownership.await_no_sessions(connection, name)
            ownership.await_readers(connection, source.golden)
            golden = require_golden(connection, source.golden)
            require_renamable(connection, golden, evict_idle=evict_idle)
            with connection.transaction():
                warnings = replay_settings(connection, golden, name)
                parked = swap_golden(source, connection, golden, name, now, evict_idle=evict_idle)
        # They show the golden template that was.
        snapshot.drop_outdated(source, connection, None)
    return Promotion(parked, filled.method, tuple(warnings))


def restore_golden(source: Source, name: str, *, now: str, evict_idle: bool) -> str:
    """
    Make *name*, a parked golden template, the golden template again; return what the one that was is called now.

    Args:
        now: The time, in ISO 8601 with offset; that new name has it.
        evict_idle: End idle sessions on golden.

    Raises:
        OwnershipError: If *name* is not provably a parked golden template of this repository.
        DatabaseError: If somebody uses golden; it is what it was then.
    """
    with source.server.building() as connection:
        mark = ownership.require_ours(connection, name, repository=source.repository, slug="", role="parked")
        if mark.golden != source.golden:
            raise OwnershipError(f"`{name}` was the golden template `{mark.golden}`, not `{source.golden}`")
        ownership.await_readers(connection, source.golden)
        golden = require_golden(connection, source.golden)
        require_renamable(connection, golden, evict_idle=evict_idle)
        with connection.transaction():
            allow_connections(connection, name, True)
            aside = swap_golden(source, connection, golden, name, now, evict_idle=evict_idle)
        snapshot.drop_outdated(source, connection, None)
    return aside


def list_parked_goldens(source: Source) -> list[str]:
    """Return the names of the golden templates that were parked, the last one first."""
    with source.server.connect() as connection:
        found = [one for one in list_managed(connection, source.repository) if not one.invalid]
    golden = [one for one in found if (one.mark.role, one.mark.slug, one.mark.golden) == ("parked", "", source.golden)]
    # Earlier versions wrote the moment only there.
    return [one.name for one in sorted(golden, key=lambda one: one.mark.parked or one.mark.created, reverse=True)]


def swap_golden(
    source: Source, connection: Connection[Any], golden: Golden, name: str, now: str, *, evict_idle: bool
) -> str:
    """
    Let *name* take golden's place, and its comment, in the caller's transaction; return what *golden* is called now.

    Raises:
        DatabaseError, psycopg.errors.ObjectInUse: If somebody is connected to golden who is not to be ended.
    """
    from psycopg import sql

    new, old = sql.Identifier(name), sql.Identifier(golden.name)
    aside = parked_name(connection, golden.name, now)
    comment = scalar(connection, "SELECT shobj_description(%s, 'pg_database')", [golden.oid])
    away = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(old, sql.Identifier(aside))
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(new, sql.Literal(comment)))
    if evict_idle:
        evict.run_exclusively(source.server, connection, golden.name, away)
    else:
        connection.execute(away)
    mark = source.mark("parked", created=now)
    set_comment(connection, aside, dataclasses.replace(mark, database=golden.name, parked=now))
    allow_connections(connection, aside, False)
    rename_database(connection, name, golden.name)
    return aside


def require_renamable(connection: Connection[Any], golden: Golden, *, evict_idle: bool) -> None:
    """
    Make sure that *golden* can be renamed.

    Raises:
        DatabaseError: If it belongs to somebody else, or is in use by sessions that are not to be ended.
    """
    if not golden.ours:
        raise DatabaseError(
            f"`{golden.name}` belongs to role `{golden.owner}`",
            why="only its owner may rename it",
            hint=f"log in as `{golden.owner}`, or as a superuser",
        )
    require_no_prepared(connection, golden.name)
    if evict_idle:
        evict.require_idle(connection, golden.name)
    elif golden.sessions:
        raise DatabaseError(
            f"{golden.connected} to `{golden.name}`",
            why="a database cannot be renamed while somebody is connected to it",
            hint="inv golden.status  # who it is\n--evict ends them, if they are idle",
        )


def _require_unchanged(source: Source, connection: Connection[Any], golden: Golden, mark: OwnershipComment) -> None:
    found = freshness.read_current_fingerprint(source, golden, freshness.read_baseline(connection, golden.oid)).found
    if not mark.fingerprint or found.digest != mark.fingerprint:
        raise DatabaseError(
            f"`{golden.name}` may have changed since this worktree's database was cloned on {mark.created[:16]}",
            why=found.obstacle or "what was added to it since would be missing from the new one",
            hint="--force promotes all the same; the old golden template is kept, parked",
        )
