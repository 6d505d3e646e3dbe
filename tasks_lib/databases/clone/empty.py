"""
Create empty databases: for companions without a golden template, and for golden templates built from migrations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from tasks_lib.databases.clone import clone
from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.copy.result import CloneResult
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.ownership.golden_template import require_may_create
from tasks_lib.databases.ownership.temporaries import temporary_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.source import Source


def check_empty(source: Source, database: str, *, slug: str) -> None:
    """
    Check that the worktree may have a database named *database*; nothing is changed.

    Raises:
        ServerError: If the server cannot be reached.
        OwnershipError: If a database of that name is not this worktree's clone.
        DatabaseError: If our role may not create databases.
    """
    with source.server.connect() as connection:
        require_may_create(connection)
        clone.require_name(source, connection, database, slug=slug)


def create_empty_database(connection: Connection[Any], name: str) -> None:
    """Create the empty database *name*, with UTF-8 and the server's default locale."""
    from psycopg import sql

    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
    connection.execute(statement.format(sql.Identifier(name)))


def build_empty(
    source: Source, database: str, comment: OwnershipComment, report: Callable[[str], object]
) -> CloneResult:
    """
    Create and publish the empty *database*, with UTF-8 and the server's default locale.

    Args:
        source: The server and the repository; its golden template is not used.
        comment: The database's ownership comment.
        report: Called with a line of text for each unfinished database that is dropped.

    Raises:
        DatabaseError: If it cannot be created; nothing is left behind.
    """

    def make(connection: Connection[Any]) -> CloneResult:
        with temporary_database(source, connection) as name:
            create_empty_database(connection, name)
            set_comment(connection, source.signer, name, structs.replace(comment, role="temporary"))
            publish(connection, source.signer, None, name, database, comment)
        return CloneResult("empty", "it has no template")

    return clone.publish_unless_exists(source, database, comment, make, report)
