"""
Filling a database under construction from golden itself: by TEMPLATE while nobody uses it, else by a dump.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.compare.fingerprint import UNKNOWN, Fingerprint
from tasks_lib.databases.copy import dump, evict, template
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import CloneError, GoldentreeError
from tasks_lib.output import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.server.connection import Server


_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Filled:
    """
    How a database was filled.

    Attributes:
        method: `template` or `dump`.
        reason: Why that one.
        found: Golden's fingerprint at that moment, without a digest where it was not read.
    """

    method: str
    reason: str
    found: Fingerprint = UNKNOWN


def copy_golden(
    server: Server,
    connection: Connection[Any],
    golden: Golden,
    temporary: str,
    mark: OwnershipComment,
    *,
    method: str = "auto",
    evict_idle: bool = False,
    report: Callable[[str], object] = lambda _: None,
) -> Filled:
    """
    Make the database *temporary* from *golden*, labelled with *mark*.

    Args:
        method: `template`, `dump`, or `auto` for the first that is possible.
        evict_idle: End idle sessions on golden, so that `template` is possible.
        report: Is told what takes long.

    Raises:
        DatabaseError: If it cannot be made that way.
    """
    if method == "dump":
        obstacle = "configured"
    else:
        obstacle = copy_by_template(server, connection, golden, temporary, mark, evict_idle=evict_idle)
        if not obstacle:
            return Filled("template", "its idle sessions were ended" if evict_idle else "nobody is connected to golden")
        if method == "template":
            raise CloneError(
                f"`{golden.name}` cannot be copied by TEMPLATE",
                why=obstacle,
                hint="WORKTREE_CLONE_METHOD=auto falls back to a dump, which needs no exclusive access",
            )
    from psycopg import sql

    def create() -> None:
        options = dump.empty_database_options(golden, connection.info.server_version)
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(temporary), options))
        set_comment(connection, temporary, mark)

    report(f"dumping {golden.name}, as {obstacle}")

    def tell(arrived: int) -> None:
        report(f"{size(arrived)} of about {size(golden.bytes)}")

    with report_size(server, temporary, tell, seconds=_PROGRESS_SECONDS):
        return Filled("dump", obstacle, dump.copy(server, golden, create, temporary))


@contextmanager
def report_size(server: Server, name: str, tell: Callable[[int], object], *, seconds: float) -> Iterator[None]:
    """Tell *tell* again and again, every so many *seconds*, how many bytes have arrived in the database *name*."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(seconds):
            # Nothing depends on it.
            with suppress(GoldentreeError), server.connect() as connection:
                arrived = scalar(connection, "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %s", [name])
                if arrived:
                    tell(arrived)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def copy_by_template(
    server: Server,
    connection: Connection[Any],
    golden: Golden,
    temporary: str,
    mark: OwnershipComment,
    *,
    evict_idle: bool = False,
) -> str:
    """Copy *golden* by TEMPLATE; return what stood in the way, empty if nothing did."""
    from psycopg import errors

    obstacle = template_obstacle(golden, evict_idle=evict_idle)
    if obstacle:
        return obstacle
    try:
        if evict_idle and golden.sessions:
            original = template.statement(connection, golden, temporary, golden.name)
            evict.run_exclusively(server, connection, golden.name, original)
        else:
            template.copy(connection, golden, temporary)
    # The last is what PostgreSQL says to a collation that changed with the operating system.
    except (errors.ObjectInUse, errors.QueryCanceled, errors.InternalError_) as error:
        if isinstance(error, errors.QueryCanceled):
            return "a copy by TEMPLATE took so long that it held up logins"
        return str(error.diag.message_primary)
    set_comment(connection, temporary, mark)
    return ""


def template_obstacle(golden: Golden, *, evict_idle: bool = False) -> str:
    """Return what forbids a copy of *golden* by TEMPLATE, empty if nothing does."""
    if not golden.ours:
        return f"it belongs to role `{golden.owner}`, which ours is no member of"
    if golden.sessions and not evict_idle:
        return f"{golden.connected} to golden"
    if golden.prepared:
        return "a prepared transaction holds golden"
    return ""
