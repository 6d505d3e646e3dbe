"""
Read every migration history of a database, to see what a tool that we ran has changed in it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.databases.server.connection import MAINTENANCE, scalar
from tasks_lib.databases.server.sessions import READER
from tasks_lib.errors import DatabaseError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tasks_lib.databases.server.connection import Server

_OTHER_TABLES = (
    "SequelizeMeta",
    "databasechangelog",
    "flyway_schema_history",
    "goose_db_version",
    "knex_migrations",
    "migrations",
    "mikro_orm_migrations",
    "pgmigrations",
)
"""The tables of Sequelize, Liquibase, Flyway, goose, Knex, Laravel and TypeORM, MikroORM, and node-pg-migrate."""

_LABEL_CHARACTERS = 80


@dataclass(frozen=True)
class Histories:
    """
    The rows of a database's migration histories.

    Attributes:
        database: The object id of the database, which tells it from another one that got its name.
        rows: What to call each row, by its table and text.
        unread: Why they could not be read; empty if they were.
    """

    database: int = 0
    rows: Mapping[tuple[str, str], str] = field(default_factory=dict)
    unread: str = ""


def read_histories(server: Server, databases: Iterable[str], keys: Mapping[str, str]) -> dict[str, Histories]:
    """
    Return the migration histories of those *databases* that exist and accept sessions, by name.

    Args:
        keys: SQL expressions that name a row, by the name of the migration history table.

    Raises:
        ServerError: If the server cannot be reached.
    """
    query = "SELECT datname FROM pg_database WHERE datname = ANY(%s) AND datallowconn"
    with server.connect(MAINTENANCE) as connection:
        names = [str(name) for (name,) in connection.execute(query, [list(databases)])]
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        return dict(zip(names, pool.map(lambda name: _read(server, name, keys), names), strict=True))


def _read(server: Server, database: str, keys: Mapping[str, str]) -> Histories:
    from psycopg import errors, sql

    tables = (
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relname = ANY(%s) AND c.relkind IN ('r', 'p')"
    )
    rows: dict[tuple[str, str], str] = {}
    try:
        with server.connect(database) as connection:
            connection.execute(f"SET application_name = '{READER}'; SET lock_timeout = '1s'".encode())
            oid = scalar(connection, "SELECT oid FROM pg_database WHERE datname = current_database()")
            for schema, table in connection.execute(tables, [[*keys, *_OTHER_TABLES]]).fetchall():
                select = sql.SQL("SELECT t::text, ({})::text FROM {} t")
                name = sql.Identifier(schema, table)
                try:
                    found = connection.execute(select.format(sql.SQL(keys.get(table, "t::text")), name)).fetchall()
                except errors.UndefinedColumn:  # another tool's table of the same name
                    found = connection.execute(select.format(sql.SQL("t::text"), name)).fetchall()
                rows |= {(f"{schema}.{table}", text): str(key)[:_LABEL_CHARACTERS] for text, key in found}
    except (DatabaseError, ServerError) as error:
        return Histories(unread=error.why or error.what)
    return Histories(oid, rows)
