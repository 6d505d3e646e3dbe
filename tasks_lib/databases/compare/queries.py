"""
Answer simple questions about one database, over a new connection each.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from tasks_lib.databases.compare import contents
from tasks_lib.databases.server import binaries
from tasks_lib.errors import ServerError

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.databases.server.connection import Server


def read_migrations(server: Server, database: str, table: str, query: str) -> dict[str, str | None]:
    """
    Return the applied migrations: the two columns of *query* in *database*, nothing if *table* is missing.

    Raises:
        DatabaseError: If the query fails.
    """
    from psycopg import sql

    with server.connect(database) as connection:
        row = connection.execute("SELECT to_regclass(%s)", [table]).fetchone()
        if row is None or row[0] is None:
            return {}
        return {str(key): checksum for key, checksum in connection.execute(sql.SQL(query))}


def read_size_and_table_count(server: Server, database: str) -> tuple[int, int]:
    """Return the size of *database* in bytes and its number of user tables."""
    with server.connect(database) as connection:
        row = connection.execute(
            "SELECT pg_database_size(current_database()), count(*) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        ).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def read_contents_of(server: Server, database: str) -> contents.Contents:
    """Read the contents of *database* in one snapshot."""
    with server.connect(database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return contents.read_contents(connection)


def find_client_directory(server: Server) -> Path | None:
    """Return the folder of the `pg_dump` and `psql` that fit *server*, None if none are installed."""
    version = _read_version(server)
    with suppress(ServerError):
        return binaries.find_clients(version).directory
    return None


@cache
def _read_version(server: Server) -> int:
    """Return the server's version; asked once, because several tools run in a row."""
    with server.connect() as connection:
        return connection.info.server_version
