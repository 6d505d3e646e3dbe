"""
The golden template that tests and benchmarks clone: the account with half a year of history.

It is as large as a real one: 9 agents (5 of the system, 4 clones), 1 phone number and 297 applied migrations, in 17 MB.
"""

from __future__ import annotations

import os
from importlib.resources import files

from tasks_lib.databases.clone import empty
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import DatabaseError
from tasks_lib.loquent import schema
from tasks_lib.loquent.account_blocks import make_missing
from tasks_lib.loquent.block import Inputs
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.loquent.safety import connect_with_search_path
from tasks_lib.loquent.seed_env import Seed, Shared
from tasks_lib.loquent.twilio import API, Account, Number
from tasks_lib.toolchains.run import run

# Repeated characters keep the made-up SIDs from looking like leaked ones to a scanner.
ACCOUNT = Account("AC" + "0" * 32, "fixture")
NUMBER = Number("+15005550006", "PN" + "4" * 32, "Main line", sms=True, voice=False, voice_webhook=True)
SEED = Seed(
    owner_email="owner@example.com",
    staff_email="staff@example.com",
    sample_data=True,
    shared=Shared(ACCOUNT, "DG" + "1" * 32, "DF" + "2" * 32, "DF" + "3" * 32, None, None, None),
    parent=None,
    stripe={},
    twilio_url=API,
)
INPUTS = Inputs(SEED, lambda _: "$fixture$nobody-can-sign-in-with-this", lambda: ACCOUNT, (NUMBER,))


def create_fixture(url: str, name: str = "loquent_latest") -> None:
    """
    Create the database *name* on the server of *url* and fill it; on failure leave nothing behind.

    *url* is any URL that `DATABASE_URL` may hold; the database that it names is not touched.

    Raises:
        DatabaseError: If a database *name* exists, or the server refuses to make or fill it.
        ServerError: If the server cannot be reached.

    """
    from psycopg import errors, sql

    server = Server(DatabaseUrl.parse(url))
    with server.connect() as connection:
        try:
            empty.create_empty_database(connection, name)
        # The process that loses a race for the name gets an error of the catalog's index instead.
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            raise DatabaseError(
                f"the database `{name}` already exists",
                why="the fixture is only built into a new database",
                hint=f"choose another name, or drop it first:\ndropdb {name}",
            ) from None
        try:
            _fill(server, name)
        except BaseException:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
            raise


def _fill(server: Server, name: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRIPE_")}
    environment = {**inherited, "DATABASE_URL": server.url.with_database(name).text}
    run(schema.BUNDLED, env=environment, on_line=lambda _: None, hint="")
    with connect_with_search_path(server, name) as connection:
        with connection.transaction():
            make_missing(connection, BLOCKS, INPUTS)
        connection.execute(files(__package__).joinpath("history.sql").read_bytes())
