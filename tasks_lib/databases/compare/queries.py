"""
Answer simple questions about one database, over a new connection each.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.compare import contents, fingerprint
from tasks_lib.databases.server import binaries
from tasks_lib.errors import DatabaseError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from psycopg import Connection
    from psycopg.sql import Composable

    from tasks_lib.databases.server.connection import Server

    FindKey = Callable[..., str | None]


def read_migrations(
    server: Server, database: str, table: str, columns: Sequence[str], find_key: FindKey, checksum: str = ""
) -> dict[str, str | None]:
    """
    Return the recorded checksums of the applied migrations, by key; nothing if *table* is missing.

    Args:
        table: Its name in SQL, looked up in the search path of the user's programs.
        columns: The columns of which *find_key* gets the values, as PostgreSQL prints them, None for NULL.
        find_key: Returns a row's key, None to leave it out.
        checksum: The column of the checksum; empty for none.

    Raises:
        DatabaseError: If the table cannot be read.
    """
    from psycopg import errors, sql

    with server.connect(database, keep_search_path=True) as connection:
        try:
            rows = copy_rows(connection, sql.SQL(table), [*columns, *filter(None, [checksum])])
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            return {}
        except errors.WrongObjectType as error:
            raise DatabaseError(
                f"the migration history {table} of `{database}` is not a table",
                why=f"{error.diag.message_primary}\na view would run its owner's functions as our role",
            ) from None
    found = ((find_key(*row[: len(columns)]), row[-1] if checksum else None) for row in rows)
    return {key: recorded for key, recorded in found if key is not None}


def copy_rows(connection: Connection[Any], table: Composable, columns: Sequence[str]) -> list[tuple[str | None, ...]]:
    """
    Return the *columns* of all rows of *table*, as PostgreSQL prints them.

    COPY of a table evaluates nothing that its owner made: no view, policy, operator, cast or index expression.
    """
    from psycopg import sql

    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with connection.cursor().copy(sql.SQL("COPY {} ({}) TO STDOUT").format(table, names)) as copy:
        return list(copy.rows())


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
        connection.execute(fingerprint.BEGIN)
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
