"""
Copy golden into a database under construction: by TEMPLATE if no session uses it, else by a dump.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.copy import dump, evict, template
from tasks_lib.databases.copy.result import CloneResult
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.server.background import repeat_in_background
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import CloneError, GoldentreeError
from tasks_lib.output import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.connection import Server

_PROGRESS_SECONDS = 5.0


def copy_golden(
    source: Source,
    connection: Connection[Any],
    golden: Golden,
    temporary: str,
    comment: OwnershipComment,
    *,
    method: str = "auto",
    reason: str = "configured",
    evict_idle: bool = False,
    report: Callable[[str], object] = lambda _: None,
) -> CloneResult:
    """
    Create the database *temporary* as a copy of *golden*, with the ownership *comment*.

    The result has golden's fingerprint only after a dump, which reads it.

    Args:
        method: `template`, `dump`, or `auto` for the first that is possible.
        reason: Why *method* is `dump`; not used otherwise.
        evict_idle: End idle sessions on golden, so that `template` is possible.
        report: Called with a line of text for anything that takes longer than a second.

    Raises:
        DatabaseError: If it cannot be copied by that method.
    """
    if method != "dump":
        obstacle = copy_by_template(source, connection, golden, temporary, comment, evict_idle=evict_idle)
        if obstacle is None:
            ended = "its idle sessions were ended" if evict_idle else "no session is connected to golden"
            return CloneResult("template", ended)
        reason = obstacle
        if method == "template":
            raise CloneError(
                f"`{golden.name}` cannot be copied by TEMPLATE",
                why=reason,
                hint="WORKTREE_CLONE_METHOD=auto falls back to a dump, which needs no exclusive access",
            )
    from psycopg import sql

    def create(described: Golden) -> None:
        options = dump.empty_database_options(described, connection.info.server_version)
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(temporary), options))
        set_comment(connection, source.signer, temporary, comment)

    report(f"dumping {golden.name}, as {reason}")

    def report_bytes(arrived: int) -> None:
        report(f"{format_size(arrived)} of about {format_size(golden.bytes)}")

    with report_size(source.server, temporary, report_bytes, seconds=_PROGRESS_SECONDS):
        found = dump.copy(source.server, connection, golden, create, temporary, report)
    return CloneResult("dump", reason, found)


@contextmanager
def report_size(server: Server, name: str, on_progress: Callable[[int], object], *, seconds: float) -> Iterator[None]:
    """Call *on_progress* every *seconds* during the body, with the size of the database *name* in bytes."""

    def report() -> None:
        # Progress is optional: an error here must not fail the copy.
        with suppress(GoldentreeError), server.connect() as connection:
            arrived = scalar(connection, "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %s", [name])
            if arrived:
                on_progress(arrived)

    with repeat_in_background(report, seconds=seconds):
        yield


def copy_by_template(
    source: Source,
    connection: Connection[Any],
    golden: Golden,
    temporary: str,
    comment: OwnershipComment,
    *,
    evict_idle: bool = False,
) -> str | None:
    """Copy *golden* by TEMPLATE; return why it was not possible, None if it was copied."""
    from psycopg import errors

    obstacle = template_obstacle(golden, evict_idle=evict_idle)
    if obstacle is not None:
        return obstacle
    try:
        if evict_idle and golden.sessions:
            statement = template.statement(connection, golden, temporary, golden.name)
            evict.run_exclusively(source.server, connection, golden.name, statement)
        else:
            template.copy(connection, golden, temporary)
    # InternalError is PostgreSQL's answer to a collation that changed with the operating system.
    except (errors.ObjectInUse, errors.QueryCanceled, errors.InternalError_) as error:
        if isinstance(error, errors.QueryCanceled):
            return "a copy by TEMPLATE took so long that it held up logins"
        return str(error.diag.message_primary)
    set_comment(connection, source.signer, temporary, comment)
    return None


def template_obstacle(golden: Golden, *, evict_idle: bool = False) -> str | None:
    """Return why *golden* cannot be copied by TEMPLATE, None if it can."""
    if not golden.ours:
        return f"it belongs to role `{golden.owner}`, and our role is not a member of it"
    if golden.sessions and not evict_idle:
        return f"{golden.connected} to golden"
    if golden.prepared:
        return "a prepared transaction holds golden"
    return None
