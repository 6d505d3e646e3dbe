"""
Cloning: examine, make by the ladder, and what is left behind.

`examine` is the pre-flight: it looks and refuses, and changes nothing. `build` does the work.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import park, strategy
from tasks_lib.databases.clone.strategy import DEFAULT_OPTIONS, CloneOptions, CloneRequest, Made
from tasks_lib.databases.ownership import comment, temporaries
from tasks_lib.databases.ownership.golden_template import Golden, require_golden, require_space
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import CloneError, OwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.connection import Server

_ATTEMPTS = 5


@dataclass(frozen=True)
class Clone:
    """
    A published clone.

    Attributes:
        method: `spare`, `snapshot`, `template`, `dump` or `empty`, or `kept` where a complete one was there.
        reason: Why that one, in a few words.
        seconds: How long building and publishing took.
        bytes: Its size on disk.
        fingerprint: Golden's at the moment that the clone shows, empty where it is not known.
        warnings: What of golden's settings could not be repeated.
        outdated: Whether a snapshot was taken for it, which leaves the one before to be swept.
        parked: What the database is called now whose place it took, empty where it took none.
    """

    database: str
    method: str
    reason: str
    seconds: float
    bytes: int
    fingerprint: str = ""
    warnings: tuple[str, ...] = ()
    outdated: bool = False
    parked: str = ""


def check_clone(source: Source, database: str, *, slug: str) -> Golden:
    """
    Return what is known of golden after making sure that *database* can be made from it, or is ours already.

    Raises:
        ServerError: If the server cannot be reached, or only through a pooler.
        GoldenMissingError: If there is no golden template.
        OwnershipError: If there is a database of that name that is not this worktree's clone.
        DatabaseError: If our role may not make it, or the disk has no space for it.
    """
    with source.server.connect() as connection:
        source.server.require_direct(connection)
        described = require_golden(connection, source.golden)
        if not require_name(source, connection, database, slug=slug):
            require_space(connection, described)
    return described


def require_name(source: Source, connection: Connection[Any], database: str, *, slug: str) -> bool:
    """
    Make sure that the worktree may have a database named *database*; return whether it has it already.

    Raises:
        OwnershipError: If that is golden's name or PostgreSQL's own, or anybody else's database bears it.
    """
    if database == source.golden or database in comment.MAINTENANCE_NAMES:
        raise OwnershipError(f"the clone may not be named `{database}`", hint="set WORKTREE_DB_PREFIX")
    there = comment.exists(connection, database)
    if there:
        comment.require_ours(connection, database, repository=source.repository, slug=slug, role="clone")
    return there


def is_complete(server: Server, database: str, *, repository: str, slug: str) -> bool:
    """
    Whether *database* is there; a database that bears its final name is complete.

    Raises:
        OwnershipError: If it is not this worktree's clone.
    """
    with server.connect() as connection:
        if not comment.exists(connection, database):
            return False
        comment.require_ours(connection, database, repository=repository, slug=slug, role="clone")
        return not comment.is_invalid(connection, database)


def build(
    source: Source,
    database: str,
    mark: OwnershipComment,
    options: CloneOptions = DEFAULT_OPTIONS,
    report: Callable[[str], object] = lambda _: None,
) -> Clone:
    """
    Clone golden as *database*.

    Args:
        mark: The clone's mark.
        report: Is told what takes long.

    Raises:
        DatabaseError: If it could not be built; nothing is left behind then.
    """
    return publish_unless_exists(
        source, database, mark, lambda connection: _climb(source, connection, database, mark, options, report), report
    )


def rebuild(
    source: Source,
    database: str,
    mark: OwnershipComment,
    options: CloneOptions = DEFAULT_OPTIONS,
    report: Callable[[str], object] = lambda _: None,
) -> Clone:
    """
    Clone golden as *database*, and park the clone that bears the name; they change places in one transaction.

    Args:
        mark: The new clone's mark; the old one is parked at the moment that it was created.
        report: Is told what takes long.

    Raises:
        OwnershipError: If *database* is not this worktree's clone.
        DatabaseError: If it could not be built; the old one bears the name then.
    """
    started = time.monotonic()
    with source.server.building() as connection:
        _sweep(source, connection, report)
        require_name(source, connection, database, slug=mark.slug)
        _drop_invalid(source, connection, database, mark)
        with temporaries.temporary_database(source, connection) as interim:
            made = _climb(source, connection, interim, replace(mark, role="temporary"), options, report)
            mark = replace(mark, fingerprint=made.fingerprint)
            # Golden's settings were repeated for it by the ladder.
            replaced = park.publish_and_park_old(
                source.server, connection, None, interim, database, mark, now=mark.created, report=report
            )
        return _described(connection, database, made, started, parked=replaced.parked)


def publish_unless_exists(
    source: Source,
    database: str,
    mark: OwnershipComment,
    make: Callable[[Connection[Any]], Made],
    report: Callable[[str], object],
) -> Clone:
    """
    Have *make* make and publish *database*, unless another process does so first.

    Raises:
        OwnershipError: If somebody else takes the name meanwhile.
    """
    from psycopg import errors

    started = time.monotonic()
    with source.server.building() as connection:
        _sweep(source, connection, report)
        _drop_invalid(source, connection, database, mark)
        try:
            made = make(connection)
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            comment.require_ours(connection, database, repository=mark.repository, slug=mark.slug, role="clone")
            made = Made("kept", "another process made it meanwhile", "")
        return _described(connection, database, made, started)


def _described(connection: Connection[Any], database: str, made: Made, started: float, *, parked: str = "") -> Clone:
    size = scalar(connection, "SELECT pg_database_size(%s)", [database])
    seconds = round(time.monotonic() - started, 3)
    warnings = tuple(made.warnings)
    return Clone(database, made.method, made.reason, seconds, size, made.fingerprint, warnings, made.outdated, parked)


def _drop_invalid(source: Source, connection: Connection[Any], database: str, mark: OwnershipComment) -> None:
    if comment.is_invalid(connection, database):
        comment.drop(
            connection, database, repository=mark.repository, slug=mark.slug, role="clone", golden=source.golden
        )


def drop_abandoned_temporaries(source: Source, report: Callable[[str], object]) -> None:
    """Drop what killed runs left half-made; *report* is told the names."""
    with source.server.connect() as connection:
        _sweep(source, connection, report)


def _sweep(source: Source, connection: Connection[Any], report: Callable[[str], object]) -> None:
    for left in temporaries.drop_abandoned(source, connection):
        report(f"swept {left}, which a killed run left")


def drop(server: Server, database: str, *, repository: str, slug: str, golden: str) -> bool:
    """
    Drop this worktree's clone, ending the sessions in it; return whether there was one.

    Raises:
        OwnershipError: If *database* is not provably this worktree's clone.
    """
    with server.connect() as connection:
        return comment.drop(connection, database, repository=repository, slug=slug, role="clone", golden=golden)


def _climb(
    source: Source,
    connection: Connection[Any],
    database: str,
    mark: OwnershipComment,
    options: CloneOptions,
    report: Callable[[str], object],
) -> Made:
    from psycopg import errors

    for _ in range(_ATTEMPTS):
        golden = require_golden(connection, source.golden)
        require_space(connection, golden)
        # Another process may replace the snapshot that we were about to copy.
        with suppress(errors.InvalidCatalogName):
            return strategy.build_clone(CloneRequest(source, connection, golden, database, mark, options, report))
    raise CloneError(
        f"`{source.golden}` changes faster than it can be cloned",
        why=f"{_ATTEMPTS} snapshots in a row were replaced by newer ones before they could be copied",
        hint="WORKTREE_CLONE_METHOD=dump needs no snapshot",
    )
