"""
Clone a golden template: check, build, publish, and drop what killed processes left.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tasks_lib.databases.clone import park, strategy
from tasks_lib.databases.clone.preflight import require_copyable
from tasks_lib.databases.clone.strategy import DEFAULT_OPTIONS, CloneOptions, CloneRequest
from tasks_lib.databases.copy.result import CloneResult
from tasks_lib.databases.ownership import temporaries
from tasks_lib.databases.ownership.comment import MAINTENANCE_NAMES
from tasks_lib.databases.ownership.drop import drop_owned
from tasks_lib.databases.ownership.golden_template import Golden, require_golden, require_space
from tasks_lib.databases.ownership.proof import find_ours, require_ours
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import is_invalid
from tasks_lib.errors import CloneError, OwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import Owner, OwnershipComment
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.connection import Server

_ATTEMPTS = 5


def check_clone(
    source: Source, database: str, options: CloneOptions = DEFAULT_OPTIONS, *, slug: str, rebuild: bool = False
) -> Golden:
    """
    Check that *database* can be cloned from golden, or is this worktree's clone already; return golden's properties.

    Args:
        rebuild: Whether it is cloned even if it exists.

    Raises:
        ServerError: If the server cannot be reached, or only through a pooler.
        GoldenMissingError: If the golden template does not exist.
        OwnershipError: If a database of that name is not this worktree's clone.
        DatabaseError: If our role lacks a right that the clone needs, or the disk has no space for it.
    """
    with source.server.connect() as connection:
        source.server.require_direct(connection)
        golden = require_golden(connection, source.golden)
        if not require_name(source, connection, database, slug=slug) or rebuild:
            require_space(connection, golden)
            require_copyable(
                source,
                connection,
                golden,
                method=options.method,
                fresh=options.fresh,
                evict_idle=options.evict_idle,
            )
    return golden


def require_name(source: Source, connection: Connection[Any], database: str, *, slug: str) -> bool:
    """
    Check that the worktree may have a database named *database*; return whether it has one already.

    Raises:
        OwnershipError: If the name is golden's or PostgreSQL's own, or another owner's database has it.
    """
    if database == source.golden or database in MAINTENANCE_NAMES:
        raise OwnershipError(f"the clone may not be named `{database}`", hint="set WORKTREE_DB_PREFIX")
    return find_ours(connection, database, source.owner(slug), "clone") is not None


def is_complete(server: Server, database: str, owner: Owner) -> bool:
    """
    Whether *database* exists and is complete; a database gets its final name only when it is complete.

    Raises:
        OwnershipError: If it is not *owner*'s clone.
    """
    with server.connect() as connection:
        found = find_ours(connection, database, owner, "clone")
        return found is not None and not found.invalid


def build(
    source: Source,
    database: str,
    comment: OwnershipComment,
    options: CloneOptions = DEFAULT_OPTIONS,
    report: Callable[[str], object] = lambda _: None,
) -> CloneResult:
    """
    Clone golden as *database*.

    Args:
        comment: The clone's ownership comment.
        report: Called with a line of text for anything that takes longer than a second.

    Raises:
        DatabaseError: If it could not be built; nothing is left behind.
    """

    def make(connection: Connection[Any]) -> CloneResult:
        return _build_clone(source, connection, database, comment, options, report)

    return publish_unless_exists(source, database, comment, make, report)


def rebuild(
    source: Source,
    database: str,
    comment: OwnershipComment,
    options: CloneOptions = DEFAULT_OPTIONS,
    report: Callable[[str], object] = lambda _: None,
    *,
    removed_at: str,
) -> CloneResult:
    """
    Clone golden as *database*, and park the clone that has this name; both are renamed in one transaction.

    Args:
        comment: The new clone's ownership comment.
        removed_at: The timestamp of the removal record for the old clone; `unpark` finds it by that.
        report: Called with a line of text for anything that takes longer than a second.

    Raises:
        OwnershipError: If *database* is not this worktree's clone.
        DatabaseError: If it could not be built; the old clone keeps its name.
    """
    started = time.monotonic()
    with source.server.connect_for_ddl() as connection:
        _drop_abandoned(source, connection, report)
        require_name(source, connection, database, slug=comment.slug)
        _drop_invalid(source, connection, database, comment)
        with temporaries.temporary_database(source, connection) as temporary:
            unpublished = msgspec.structs.replace(comment, role="temporary")
            result = _build_clone(source, connection, temporary, unpublished, options, report)
            comment = msgspec.structs.replace(comment, fingerprint=result.fingerprint.digest)
            # No golden here: building the clone has already copied its settings.
            replaced = park.publish_and_park_old(
                source,
                connection,
                None,
                temporary,
                database,
                comment,
                removed_at=removed_at,
                report=report,
            )
        return _measured(connection, database, replace(result, parked=replaced.parked), started)


def publish_unless_exists(
    source: Source,
    database: str,
    comment: OwnershipComment,
    make: Callable[[Connection[Any]], CloneResult],
    report: Callable[[str], object],
) -> CloneResult:
    """
    Create and publish *database* with *make*, unless another process publishes it first.

    Raises:
        OwnershipError: If another owner takes the name in the meantime.
    """
    from psycopg import errors

    started = time.monotonic()
    with source.server.connect_for_ddl() as connection:
        _drop_abandoned(source, connection, report)
        _drop_invalid(source, connection, database, comment)
        try:
            result = make(connection)
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            require_ours(connection, database, source.owner(comment.slug), "clone")
            result = CloneResult("kept", "another process has just made it")
        return _measured(connection, database, result, started)


def _measured(connection: Connection[Any], database: str, result: CloneResult, started: float) -> CloneResult:
    size = scalar(connection, "SELECT pg_database_size(%s)", [database])
    return replace(result, database=database, bytes=size, seconds=round(time.monotonic() - started, 3))


def _drop_invalid(source: Source, connection: Connection[Any], database: str, comment: OwnershipComment) -> None:
    if is_invalid(connection, database):
        drop_owned(connection, database, source.owner(comment.slug), "clone", golden=source.golden)


def drop_abandoned_temporaries(source: Source, report: Callable[[str], object]) -> None:
    """Drop the unfinished databases of killed processes; call *report* with a line for each."""
    with source.server.connect() as connection:
        _drop_abandoned(source, connection, report)


def _drop_abandoned(source: Source, connection: Connection[Any], report: Callable[[str], object]) -> None:
    for name in temporaries.drop_abandoned(source, connection):
        report(f"dropped {name}, which a killed process left unfinished")


def drop(server: Server, database: str, owner: Owner, *, golden: str) -> bool:
    """
    Drop *owner*'s clone and end the sessions in it; return whether it existed.

    Raises:
        OwnershipError: If *database* is not provably *owner*'s clone.
    """
    with server.connect() as connection:
        return drop_owned(connection, database, owner, "clone", golden=golden)


def _build_clone(
    source: Source,
    connection: Connection[Any],
    database: str,
    comment: OwnershipComment,
    options: CloneOptions,
    report: Callable[[str], object],
) -> CloneResult:
    from psycopg import errors

    for _ in range(_ATTEMPTS):
        golden = require_golden(connection, source.golden)
        require_space(connection, golden)
        # Another process may replace the snapshot that we were about to copy.
        with suppress(errors.InvalidCatalogName):
            return strategy.build_clone(CloneRequest(source, connection, golden, database, comment, options, report))
    raise CloneError(
        f"`{source.golden}` changes faster than it can be cloned",
        why=f"{_ATTEMPTS} snapshots in a row were replaced by newer ones before they could be copied",
        hint="WORKTREE_CLONE_METHOD=dump needs no snapshot",
    )
