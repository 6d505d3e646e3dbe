"""
Look up, rename, open and close databases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.databases.server.connection import scalar

if TYPE_CHECKING:
    from psycopg import Connection

INVALID = -2
"""`datconnlimit` of a database that an interrupted DROP DATABASE has left (DATCONNLIMIT_INVALID_DB, pg_database.h)."""


def database_exists(connection: Connection[Any], name: str) -> bool:
    """Whether the database *name* exists."""
    return scalar(connection, "SELECT 1 FROM pg_database WHERE datname = %s", [name]) is not None


def is_invalid(connection: Connection[Any], name: str) -> bool:
    """Whether an interrupted DROP DATABASE has left *name*: it is still listed, but can only be dropped."""
    return bool(scalar(connection, "SELECT datconnlimit = %s FROM pg_database WHERE datname = %s", [INVALID, name]))


def rename_database(connection: Connection[Any], name: str, to: str) -> None:
    """Rename the database *name*."""
    from psycopg import sql

    connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to)))


def allow_connections(connection: Connection[Any], name: str, allowed: bool) -> None:
    """Open the database *name* to connections, or close it to everyone, superusers included."""
    from psycopg import sql

    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(allowed)))
