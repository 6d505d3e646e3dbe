"""
Cloning: examine, make by the ladder, and what is left behind.

`examine` is the pre-flight: it looks and refuses, and changes nothing. `build` does the work.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases import ladder, ownership, temporaries
from tasks_lib.databases.golden import Golden, require_golden, require_space
from tasks_lib.databases.ladder import AUTO, Job, Made, Wish
from tasks_lib.databases.server import scalar
from tasks_lib.errors import CloneError, OwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.ownership import Mark
    from tasks_lib.databases.server import Server
    from tasks_lib.databases.source import Source

_ATTEMPTS = 5


@dataclass(frozen=True)
class Clone:
    """
    A published clone.

    Attributes:
        method: `spare`, `snapshot`, `template` or `dump`, or `kept` where a complete one was there.
        reason: Why that one, in a few words.
        seconds: How long building and publishing took.
        bytes: Its size on disk.
        fingerprint: Golden's at the moment that the clone shows, empty where it is not known.
        warnings: What of golden's settings could not be repeated.
        outdated: Whether a snapshot was taken for it, which leaves the one before to be swept.
    """

    database: str
    method: str
    reason: str
    seconds: float
    bytes: int
    fingerprint: str = ""
    warnings: tuple[str, ...] = ()
    outdated: bool = False


def examine(source: Source, database: str, *, slug: str) -> Golden:
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
        if database == source.golden or database in ownership.MAINTENANCE_NAMES:
            raise OwnershipError(f"the clone may not be named `{database}`", hint="set WORKTREE_DB_PREFIX")
        if ownership.exists(connection, database):
            ownership.require_ours(connection, database, repository=source.repository, slug=slug, role="clone")
        else:
            require_space(connection, described)
    return described


def is_complete(server: Server, database: str, *, repository: str, slug: str) -> bool:
    """
    Whether *database* is there; a database that bears its final name is complete.

    Raises:
        OwnershipError: If it is not this worktree's clone.
    """
    with server.connect() as connection:
        if not ownership.exists(connection, database):
            return False
        ownership.require_ours(connection, database, repository=repository, slug=slug, role="clone")
        return not ownership.is_invalid(connection, database)


def build(
    source: Source, database: str, mark: Mark, wish: Wish = AUTO, say: Callable[[str], object] = lambda _: None
) -> Clone:
    """
    Clone golden as *database*.

    Args:
        mark: The clone's mark.
        say: Is told what takes long.

    Raises:
        DatabaseError: If it could not be built; nothing is left behind then.
    """
    from psycopg import errors  # noqa: PLC0415 - only where a database is cloned

    started = time.monotonic()
    with source.server.building() as connection:
        _sweep(source, connection, say)
        if ownership.is_invalid(connection, database):
            ownership.drop(
                connection,
                database,
                repository=mark.repository,
                slug=mark.slug,
                role="clone",
                golden=source.golden,
            )
        try:
            made = _climb(source, connection, database, mark, wish, say)
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            ownership.require_ours(connection, database, repository=mark.repository, slug=mark.slug, role="clone")
            made = Made("kept", "another process made it meanwhile", "")
        size = scalar(connection, "SELECT pg_database_size(%s)", [database])
    seconds = round(time.monotonic() - started, 3)
    return Clone(
        database, made.method, made.reason, seconds, size, made.fingerprint, tuple(made.warnings), made.outdated
    )


def sweep(source: Source, say: Callable[[str], object]) -> None:
    """Drop what killed runs left half-made; *say* is told the names."""
    with source.server.connect() as connection:
        _sweep(source, connection, say)


def _sweep(source: Source, connection: Connection[Any], say: Callable[[str], object]) -> None:
    for left in temporaries.sweep(source, connection):
        say(f"swept {left}, which a killed run left")


def drop(server: Server, database: str, *, repository: str, slug: str, golden: str) -> bool:
    """
    Drop this worktree's clone, ending the sessions in it; return whether there was one.

    Raises:
        OwnershipError: If *database* is not provably this worktree's clone.
    """
    with server.connect() as connection:
        return ownership.drop(connection, database, repository=repository, slug=slug, role="clone", golden=golden)


def _climb(
    source: Source, connection: Connection[Any], database: str, mark: Mark, wish: Wish, say: Callable[[str], object]
) -> Made:
    from psycopg import errors  # noqa: PLC0415 - as in `build`

    for _ in range(_ATTEMPTS):
        golden = require_golden(connection, source.golden)
        require_space(connection, golden)
        # Another process may replace the snapshot that we were about to copy.
        with suppress(errors.InvalidCatalogName):
            return ladder.climb(Job(source, connection, golden, database, mark, wish, say))
    raise CloneError(
        f"`{source.golden}` changes faster than it can be cloned",
        why=f"{_ATTEMPTS} snapshots in a row were replaced by newer ones before they could be copied",
        hint="WORKTREE_CLONE_METHOD=dump needs no snapshot",
    )
