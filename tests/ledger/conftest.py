"""
Ledgers to test on: a file of SQLite, and a database of its own on the real PostgreSQL.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import warnings
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.ledger.ledger import Ledger
from tests import forks

# Forks from a process that has done nothing but import: what each does with `ledger` and `number` is its `result`.
CROWD = """
import json, os, sys
from pathlib import Path
from tasks_lib.errors import GoldentreeError
from tasks_lib.ledger.ledger import Ledger

def opened():
    return Ledger.on_postgres(where, "there") if isinstance(where, dict) else Ledger.on_sqlite(Path(where))

where, size, code = json.loads(sys.argv[1])
waiting, gate = os.pipe()
pipes = []
for number in range(size):
    heard, said = os.pipe()
    if os.fork() == 0:
        os.close(gate)
        os.read(waiting, 1)  # until all are there
        names = {"opened": opened, "number": number, "result": None, "GoldentreeError": GoldentreeError}
        try:
            exec(code, names)
            answer = names["result"]
        except GoldentreeError as error:
            answer = type(error).__name__
        os.write(said, json.dumps(answer).encode())
        os._exit(0)
    os.close(said)
    pipes.append(heard)
os.close(gate)
print(json.dumps([json.loads(os.fdopen(pipe).read() or "null") for pipe in pipes]))
"""

SECOND = ("depends_on_phase_id", "depends_on_task_id", "to_agent_id")
"""Columns that must not name the same as their neighbour."""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """Give where an empty ledger is, on each of the two engines: a path, or what libpq connects with."""
    if request.param == "sqlite":
        return shutil.copy(request.getfixturevalue("blank_file"), tmp_path / "ledger.db")
    return request.getfixturevalue("new_database")(request.getfixturevalue("blank_database"))


@pytest.fixture(params=["sqlite", "postgres"])
def nowhere(request, tmp_path):
    """Give where a ledger can be made, on each of the two engines."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    return request.getfixturevalue("new_database")()


@pytest.fixture
def ledger(place):
    """Give an empty ledger, on each of the two engines."""
    ledger = opened(place)
    yield ledger
    ledger.engine.dispose()


@pytest.fixture
def sqlite_ledger(blank_file, tmp_path):
    """Give an empty ledger in a file."""
    ledger = opened(shutil.copy(blank_file, tmp_path / "ledger.db"))
    yield ledger
    ledger.engine.dispose()


@pytest.fixture
def postgres_parameters(new_database):
    """Give what libpq connects to an empty database with."""
    return new_database()


def opened(place):
    """Open the ledger at *place*."""
    return Ledger.on_sqlite(place) if isinstance(place, Path) else Ledger.on_postgres(place, "the test's database")


@pytest.fixture(scope="session")
def blank_file(tmp_path_factory):
    """Give an empty ledger to copy."""
    path = tmp_path_factory.mktemp("blank") / "ledger.db"
    opened(path).engine.dispose()
    return path


@pytest.fixture(scope="session")
def blank_database(servers):
    """Give the name of a database with an empty ledger, to copy."""
    url = DatabaseUrl.parse(servers(binaries.find_server_programs()))
    with psycopg.connect(url.text, autocommit=True) as server:
        server.execute("CREATE DATABASE blank_ledger")
    opened(url.with_database("blank_ledger").parameters).engine.dispose()
    return "blank_ledger"


@pytest.fixture
def new_database(servers):
    """Give a function that makes a copy of a database and returns what libpq connects with; dropped afterwards."""
    url, made = DatabaseUrl.parse(servers(binaries.find_server_programs())), []
    with psycopg.connect(url.text, autocommit=True) as server:

        def new(template="template1"):
            made.append(name := f"ledger_{secrets.token_hex(4)}")
            server.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
            return url.with_database(name).parameters

        yield new
        for name in made:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def crowd():
    """
    Give a function that runs code in several processes at once and returns what each made of `result`.

    They open the ledger at a `place` with `opened()`, and each has its `number`. Of an error of ours they return the
    class's name, and None when killed.
    """

    def run(place, size, code):
        asked = json.dumps([str(place) if isinstance(place, Path) else place, size, code])
        status, said, errors = forks.python(CROWD, asked).wait()
        assert status == 0, errors
        return json.loads(said)

    return run


@pytest.fixture
def fill():
    """
    Give a function that puts rows into every table of a ledger, of whatever revision, and no NULL where one can be.

    There are two in each, `TABLE-1` and `TABLE-2`. What refers refers to the first; `TABLE-2` is below `TABLE-1`, and
    `TABLE-1` waits for `TABLE-2`. Values can be given by `table`, for its first row.
    """

    def run(connection, **given):
        metadata = sa.MetaData()
        with warnings.catch_warnings(action="ignore"):  # an index on an expression
            metadata.reflect(connection, only=lambda name, _: name != "alembic_version")
        for table in metadata.sorted_tables:
            checks = sa.inspect(connection).get_check_constraints(table.name)
            choices = dict(
                re.search(r"(\w+).*?'(.*?)'", check["sqltext"]).groups() for check in checks if "'" in check["sqltext"]
            )
            for number in (1, 2) if "id" in table.columns else (1,):
                row = {column.name: value(table, column, number) for column in table.columns} | choices
                connection.execute(table.insert().values(row | (given.get(table.name, {}) if number == 1 else {})))

    def value(table, column, number):
        if column.foreign_keys:
            other = next(iter(column.foreign_keys)).column.table
            if other is table:
                return None if number == 1 else f"{other.name}-1"
            return f"{other.name}-{2 if column.name in SECOND else 1}"
        if column.name == "id":
            return f"{table.name}-{number}"
        values = {
            sa.JSON: {"number": number},
            sa.Boolean: True,
            sa.Integer: number,
            sa.String: f"{column.name}-{number}",
        }
        return next(found for kind, found in values.items() if isinstance(column.type, kind))

    return run
