"""
Cloning: examine, choose a method, build under a temporary name, publish.

`examine` is the pre-flight: it looks and refuses, and changes nothing. `build` does the work. A
method is a function that fills the temporary database; `auto` is the ladder that picks one.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases import dump, ownership, template
from tasks_lib.databases.golden import Golden, require_golden, require_space
from tasks_lib.databases.publish import label, publish
from tasks_lib.databases.server import scalar
from tasks_lib.errors import CloneError, GoldentreeError, OwnershipError

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership import Mark
    from tasks_lib.databases.server import Server


@dataclass(frozen=True)
class Clone:
    """
    A published clone.

    Attributes:
        method: `template` or `dump`, or `kept` where a complete one was there.
        reason: Why that method, in a few words.
        seconds: How long building and publishing took.
        bytes: Its size on disk.
        warnings: What of golden's settings could not be repeated.
    """

    database: str
    method: str
    reason: str
    seconds: float
    bytes: int
    warnings: tuple[str, ...] = ()


def examine(server: Server, golden: str, database: str, *, repository: str, slug: str) -> Golden:
    """
    Return what is known of *golden* after making sure that *database* can be made from it, or is ours already.

    Raises:
        ServerError: If the server cannot be reached, or only through a pooler.
        GoldenMissingError: If there is no golden template.
        OwnershipError: If there is a database of that name that is not this worktree's clone.
        DatabaseError: If our role may not make it, or the disk has no space for it.
    """
    with server.connect() as connection:
        server.require_direct(connection)
        described = require_golden(connection, golden)
        if database == golden or database in ownership.MAINTENANCE_NAMES:
            raise OwnershipError(f"the clone may not be named `{database}`", hint="set WORKTREE_DB_PREFIX")
        if ownership.exists(connection, database):
            ownership.require_ours(connection, database, repository=repository, slug=slug, role="clone")
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
        return True


def build(server: Server, golden: str, database: str, mark: Mark, *, temporary: str, method: str) -> Clone:
    """
    Clone *golden* as *database*.

    Args:
        mark: The clone's mark.
        temporary: A name from `ownership.new_temporary_name`, recorded by the caller before this call.
        method: `auto`, `template` or `dump`.

    Raises:
        DatabaseError: If it could not be built; nothing is left behind then.
    """
    from psycopg import errors  # noqa: PLC0415 - only where a database is cloned

    started = time.monotonic()
    try:
        with server.connect() as connection:
            ownership.hold(connection, temporary)
            if connection.info.server_version >= 140_000:
                # A client killed in the midst of CREATE DATABASE would else leave the server at work for seconds.
                connection.execute("SET client_connection_check_interval = '500ms'")
            described = require_golden(connection, golden)
            require_space(connection, described)
            temporary_mark = replace(mark, role="temporary")
            chosen, reason = _fill(server, connection, described, temporary, temporary_mark, method)
            try:
                warnings = publish(connection, described, temporary, database, mark)
            except (errors.DuplicateDatabase, errors.UniqueViolation):
                ownership.require_ours(connection, database, repository=mark.repository, slug=mark.slug, role="clone")
                ownership.sweep_temporary(connection, temporary, repository=mark.repository)
                chosen, reason, warnings = "kept", "another process made it meanwhile", []
            size = scalar(connection, "SELECT pg_database_size(%s)", [database])
    except BaseException:
        # On a new connection, as this one may be what failed; where that fails too, the next run sweeps.
        with suppress(GoldentreeError):
            sweep(server, temporary, repository=mark.repository)
        raise
    return Clone(database, chosen, reason, round(time.monotonic() - started, 3), size, tuple(warnings))


def drop(server: Server, database: str, *, repository: str, slug: str, golden: str) -> bool:
    """
    Drop this worktree's clone, ending the sessions in it; return whether there was one.

    Raises:
        OwnershipError: If *database* is not provably this worktree's clone.
    """
    with server.connect() as connection:
        return ownership.drop(connection, database, repository=repository, slug=slug, role="clone", golden=golden)


def sweep(server: Server, temporary: str, *, repository: str) -> bool:
    """Drop what a killed `build` left under *temporary*; return whether there was anything."""
    with server.connect() as connection:
        return ownership.sweep_temporary(connection, temporary, repository=repository)


def _fill(
    server: Server, connection: Connection[Any], golden: Golden, temporary: str, mark: Mark, method: str
) -> tuple[str, str]:
    """Make the database *temporary* by *method*; return the method that did it, and why that one."""
    from psycopg import errors, sql  # noqa: PLC0415 - only where a database is cloned

    obstacle = _template_obstacle(golden)
    if method == "template" and obstacle:
        raise _no_template(golden, obstacle)
    if method != "dump" and not obstacle:
        try:
            template.copy(connection, golden, temporary)
        # The last is what PostgreSQL says to a collation that changed with the operating system.
        except (errors.ObjectInUse, errors.QueryCanceled, errors.InternalError_) as error:
            obstacle = str(error.diag.message_primary)
            if isinstance(error, errors.QueryCanceled):
                obstacle = "a copy by TEMPLATE took so long that it held up logins"
            if method == "template":
                raise _no_template(golden, obstacle) from error
        else:
            label(connection, temporary, mark)
            return "template", "nobody is connected to golden"

    def create() -> None:
        options = dump.empty_database_options(golden, connection.info.server_version)
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(temporary), options))
        label(connection, temporary, mark)

    dump.copy(server, golden, create, temporary)
    return "dump", obstacle or "configured"


def _no_template(golden: Golden, obstacle: str) -> CloneError:
    return CloneError(
        f"`{golden.name}` cannot be copied by TEMPLATE",
        why=obstacle,
        hint="WORKTREE_CLONE_METHOD=auto falls back to a dump, which needs no exclusive access",
    )


def _template_obstacle(golden: Golden) -> str:
    """Return what forbids a copy by TEMPLATE, empty if nothing does."""
    if not golden.ours:
        return f"it belongs to role `{golden.owner}`, which ours is no member of"
    if golden.sessions:
        return f"{golden.sessions} session{'s are' if golden.sessions > 1 else ' is'} connected to golden"
    if golden.prepared:
        return "a prepared transaction holds golden"
    return ""
