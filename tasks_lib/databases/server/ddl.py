"""
Statements that change a database as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection


def rename_database(connection: Connection[Any], name: str, to: str) -> None:
    """Rename the database *name*."""
    from psycopg import sql

    connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to)))


def allow_connections(connection: Connection[Any], name: str, allowed: bool) -> None:
    """Open the database *name* to connections, or close it, to superusers too."""
    from psycopg import sql

    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(allowed)))
