"""Small golden templates of any kind, and clones of them."""

from __future__ import annotations

import secrets
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tasks_lib.databases.clone import clone
from tasks_lib.databases.clone.strategy import CloneOptions
from tasks_lib.databases.compare import fingerprint
from tasks_lib.databases.copy import template
from tasks_lib.databases.ownership.comment import read_clock
from tasks_lib.databases.ownership.source import Source
from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.embedded.cluster import Cluster
from tasks_lib.databases.server.url import DatabaseUrl
from tests.servers import quick_server
from tests.signing import SIGNER


class Place:
    """A server to make golden templates and clones on; all that is made goes with the test."""

    signer = SIGNER
    slug = "feat_1"

    def __init__(self, server: Server, admin: psycopg.Connection, folder):
        self.server = server
        self.folder = folder
        self.said = []
        self.admin = admin
        self.started = read_clock(admin)
        self.made = []
        self.roles = []

    def golden(self, script="", *, name=None, options="", owner=None):
        """Make a golden template by running *script* in it, and return its name."""
        name = name or f"gold_{secrets.token_hex(4)}"
        self.made.append(name)
        # Half the work of the default, which writes every page to the log.
        strategy = "STRATEGY file_copy" if self.admin.info.server_version >= 150_000 else ""
        self.run(f"CREATE DATABASE {{}} TEMPLATE template0 {strategy} {options}", name)
        if owner:
            self.run("ALTER DATABASE {} OWNER TO {}", name, owner)
        self.execute(name, script)
        return name

    def role(self, options="LOGIN CREATEDB"):
        """Make a role, and return its name; its password is the same."""
        name = f"role_{secrets.token_hex(4)}"
        self.roles.append(name)
        self.run(f"CREATE ROLE {{}} {options} PASSWORD {name!r}", name)
        return name

    def as_role(self, name):
        """Return the server as the role *name* logs in to it."""
        return Server(DatabaseUrl.parse(self.server.url.conninfo(user=name, password=name)))

    def clone(self, golden, *, method="dump", server=None, database=None, **wish):
        """Clone *golden* and return the result."""
        database = database or f"clone_{secrets.token_hex(4)}"
        self.made.append(database)
        source = self.source(golden, server=server)
        comment = source.new_comment("clone", slug=self.slug, created_at="2026-01-02T03:04:05+00:00")
        return clone.build(source, database, comment, CloneOptions(method, **wish), report=self.said.append)

    def source(self, golden, *, server=None):
        """Return *golden* as what clones are made from."""
        return Source(server or self.server, golden, self.signer, self.folder)

    def oid(self, database):
        """Return the object id of *database*."""
        return self.admin.execute("SELECT oid FROM pg_database WHERE datname = %s", [database]).fetchone()[0]

    def fingerprint(self, database, *, of=None, server=None, lock_timeout="1min"):
        """Read the fingerprint of *database*, or of *of* if it is a copy of that one."""
        with (server or self.server).connect(database) as connection:
            connection.execute(f"{fingerprint.BEGIN}; SET LOCAL lock_timeout = '{lock_timeout}'")
            return fingerprint.read(connection, self.oid(of or database))

    def connect(self, database, **options):
        """Connect to *database* as an application does."""
        # Of a database in SQL_ASCII, psycopg would else hand out bytes.
        options = {"client_encoding": "UTF8", **options}
        return psycopg.connect(self.server.url.conninfo(dbname=database, **options), autocommit=True)

    def execute(self, database, script):
        if script:
            with self.connect(database) as connection:
                connection.execute(script)

    def rows(self, database, query):
        """Return all rows of *query* in *database*."""
        with self.connect(database) as connection:
            return connection.execute(query).fetchall()

    def assert_same_rows(self, golden, cloned, query):
        """Assert that *query* has the same rows in both, and return them."""
        rows = self.rows(golden, query)
        assert self.rows(cloned, query) == rows
        return rows

    def run(self, statement, *names):
        """Run *statement* with *names* as identifiers in the maintenance database."""
        self.admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def databases(self):
        """Return all databases' names."""
        return {name for (name,) in self.admin.execute("SELECT datname FROM pg_database")}

    def clients(self):
        """Return the `pg_dump` and `psql` that fit the server."""
        return binaries.find_clients(self.admin.info.server_version)

    def schema(self, database):
        """Return the schema of *database* as pg_dump writes it, without what names the database."""
        environment = self.server.url.environment(dbname=database)
        dumped = subprocess.run(
            [self.clients().program("pg_dump"), "--schema-only", "--no-publications", "--no-subscriptions"],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return [line for line in dumped.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]

    def sessions(self, application, database="%"):
        """Return the process ids of the sessions of the program *application*."""
        rows = self.admin.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname LIKE %s", [application, database]
        )
        return [pid for (pid,) in rows]

    def close(self):
        self.admin.execute("RESET ROLE")
        for name in {*self.made, *(name for name in self.databases() if name.startswith("goldentree_"))}:
            if self.admin.execute("SELECT 1 FROM pg_database WHERE datname = %s AND datistemplate", [name]).fetchone():
                self.run("ALTER DATABASE {} IS_TEMPLATE false", name)
            self.run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        for role in self.roles:
            self.run("DROP OWNED BY {0}; DROP ROLE {0}", role)


@pytest.fixture
def server(server_url):
    """Give the disposable server, as its superuser logs in."""
    return Server(DatabaseUrl.parse(server_url))


@pytest.fixture
def place(server, tmp_path):
    """Give a place on the disposable server for golden templates and their clones."""
    with place_on(server, tmp_path) as place:
        yield place


@pytest.fixture
def production(other_url, tmp_path):
    """Give a place on a server that is not the one of `place`."""
    with place_on(Server(DatabaseUrl.parse(other_url)), tmp_path / "other") as place:
        yield place


@pytest.fixture(scope="module")
def lasting(server_url, tmp_path_factory):
    """Give a place like `place` that stays for all tests of a module."""
    with place_on(Server(DatabaseUrl.parse(server_url)), tmp_path_factory.mktemp("lasting")) as place:
        yield place


@pytest.fixture(scope="module")
def own_server(programs):
    """Give a server of the module's own, which may be crashed, and which knows prepared transactions."""
    with quick_server(programs) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET max_prepared_transactions = 2")
            (data,) = connection.execute("SHOW data_directory").fetchone()
        cluster = Cluster(Path(data).parent, durable=False, binaries=programs)
        cluster.stop()
        cluster.start()
        yield Server(DatabaseUrl.parse(url))


@pytest.fixture
def own(own_server, tmp_path):
    """Give a place on that server; all that is made goes with the server."""
    with own_server.connect() as admin:
        yield Place(own_server, admin, tmp_path / "databases")


@contextmanager
def place_on(server, folder):
    with server.connect() as admin:
        place = Place(server, admin, folder / "databases")
        yield place
        place.close()


@pytest.fixture
def patient(monkeypatch):
    """Let copies by TEMPLATE take their time: on a busy machine they are else given up for a dump."""
    monkeypatch.setattr(template, "_GUARD_MILLISECONDS", 60_000)


@pytest.fixture
def eventually():
    """Give a function that waits for a condition and returns its value."""

    def wait(condition):
        deadline = time.monotonic() + 60
        while not (value := condition()):
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.005)
        return value

    return wait


@pytest.fixture
def meanwhile():
    """Give a function that runs another in a thread; its failure fails the test."""
    running = []

    def run(function):
        failures = []

        def guarded():
            try:
                function()
            except BaseException as failure:  # noqa: BLE001 - raised below
                failures.append(failure)

        thread = threading.Thread(target=guarded)
        thread.start()
        running.append((thread, failures))
        return thread

    yield run
    for thread, failures in running:
        thread.join()
        assert not failures, failures
