"""
Ledgers to test on: a file of SQLite, and a database of its own on the real PostgreSQL.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import warnings
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tasks_lib.databases import binaries
from tasks_lib.databases.url import DatabaseUrl
from tasks_lib.ledger.ledger import Ledger

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
    """Give where a ledger can be made, on each of the two engines: a path, or what libpq connects with."""
    return tmp_path / "ledger.db" if request.param == "sqlite" else request.getfixturevalue("postgres_parameters")


@pytest.fixture
def ledger(place):
    """Give an empty ledger, on each of the two engines."""
    ledger = Ledger.on_sqlite(place) if isinstance(place, Path) else Ledger.on_postgres(place, "the test's database")
    yield ledger
    ledger.engine.dispose()


@pytest.fixture
def sqlite_ledger(tmp_path):
    """Give an empty ledger in a file."""
    ledger = Ledger.on_sqlite(tmp_path / "ledger.db")
    yield ledger
    ledger.engine.dispose()


@pytest.fixture
def postgres_parameters(servers):
    """Give what libpq connects to an empty database with, which is dropped afterwards."""
    url = DatabaseUrl.parse(servers(binaries.server_binaries()))
    name = f"ledger_{secrets.token_hex(4)}"
    with psycopg.connect(url.text, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield url.with_database(name).parameters
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
        done = subprocess.run(
            [sys.executable, "-c", CROWD, asked],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return json.loads(done.stdout)

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
                re.search(r"(\w+).*?'(.*?)'", one["sqltext"]).groups() for one in checks if "'" in one["sqltext"]
            )
            for number in (1, 2) if "id" in table.columns else (1,):
                row = {one.name: value(table, one, number) for one in table.columns} | choices
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
        return next(one for kind, one in values.items() if isinstance(column.type, kind))

    return run
