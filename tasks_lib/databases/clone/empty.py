"""
Empty databases: for companions that have no golden template, and for golden templates that are made from nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone import clone
from tasks_lib.databases.clone.publish import publish
from tasks_lib.databases.clone.strategy import Made
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.ownership.temporaries import temporary_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.clone.clone import Clone
    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.source import Source


def check_empty(source: Source, database: str, *, slug: str) -> None:
    """
    Make sure that the worktree may have a database named *database*, before anything is made.

    Raises:
        ServerError: If the server cannot be reached.
        OwnershipError: If there is a database of that name that is not this worktree's clone.
    """
    with source.server.connect() as connection:
        clone.require_name(source, connection, database, slug=slug)


def create_empty_database(connection: Connection[Any], name: str) -> None:
    """Create the empty database *name*, in UTF-8 and with the server's own locale."""
    from psycopg import sql

    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
    connection.execute(statement.format(sql.Identifier(name)))


def build_empty(source: Source, database: str, mark: OwnershipComment, report: Callable[[str], object]) -> Clone:
    """
    Make the empty *database*, in UTF-8 and with the server's own locale; it bears its name once it is complete.

    Args:
        source: The server and the repository; its golden template is not looked at.
        mark: Its mark.
        report: Is told what is swept.

    Raises:
        DatabaseError: If it cannot be made; nothing is left behind then.
    """

    def make(connection: Connection[Any]) -> Made:
        with temporary_database(source, connection) as name:
            create_empty_database(connection, name)
            set_comment(connection, name, replace(mark, role="temporary"))
            publish(connection, None, name, database, mark)
        return Made("empty", "it has no template", "")

    return clone.publish_unless_exists(source, database, mark, make, report)
