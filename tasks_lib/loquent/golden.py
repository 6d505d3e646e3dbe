"""
Build the fixture golden template: a small Loquent account in a database as large as a real one.

The rows are those that seed 000 counts: 3 contacts, 9 agents (5 of the system, 4 clones), 1 phone number
and 297 applied migrations, in 120 tables of about 17 MB together.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from tasks_lib.databases.server import Server
from tasks_lib.databases.url import DatabaseUrl
from tasks_lib.errors import DatabaseError

if TYPE_CHECKING:
    from typing import Any

    from psycopg import Connection

PROOF_TABLES = {"contacts": "contact", "agents": "ai_agent", "phones": "phone_number"}
"""What seed 000, section 07, counts in source and clone: its label, and the table behind it."""

LEDGER = "seaql_migrations"
"""SeaORM's table of applied migrations."""


def build(connection: Connection[Any]) -> None:
    """
    Fill the empty database of *connection* with the schema and the rows, in one transaction.

    Two builds are equal: nothing in them depends on chance, the time or the session's settings.
    """
    with connection.transaction():
        for script in ("schema.sql", "account.sql"):
            connection.execute(files(__package__).joinpath(script).read_bytes())


def create(url: str, name: str = "loquent_latest") -> None:
    """
    Create the database *name* on the server of *url* and fill it; on failure leave nothing behind.

    *url* is any URL that `DATABASE_URL` may hold; the database that it names is not touched.

    Raises:
        DatabaseError: If a database *name* exists, or the server refuses to make or fill it.
        ServerError: If the server cannot be reached.

    """
    from psycopg import errors, sql  # noqa: PLC0415 - 150 ms, only where a database is built

    server = Server(DatabaseUrl.parse(url))
    database = sql.Identifier(name)
    with server.connect() as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(database))
        # Whoever loses a race for the name is refused by the catalog's index instead.
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            raise DatabaseError(
                f"the database `{name}` already exists",
                why="the fixture golden template is only ever built into a new one",
                hint=f"choose another name, or drop it first: dropdb {name}",
            ) from None
        try:
            with server.connect(name) as inside:
                build(inside)
        except BaseException:
            connection.execute(sql.SQL("DROP DATABASE {}").format(database))
            raise
