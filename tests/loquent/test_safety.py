"""Databases in which no account is built: on other machines, in production, or with another role."""

from __future__ import annotations

import secrets
import socket
from contextlib import contextmanager
from threading import Thread

import psycopg
import pytest
from psycopg import sql

from tasks_lib.databases.ownership.comment import OwnershipComment, set_comment
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import OwnershipError, SettingsError
from tasks_lib.loquent.safety import connect_with_search_path, require_development, require_name, require_sandbox
from tests.signing import SIGNER


@pytest.fixture
def server(server_url):
    return Server(DatabaseUrl.parse(server_url))


@contextmanager
def relayed(listener, address):
    """Pass one connection that *listener* gets on to *address*."""

    def pump(source, sink):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    def serve():
        with listener.accept()[0] as client, socket.create_connection(address) as server:
            back = Thread(target=pump, args=(server, client))
            back.start()
            pump(client, server)
            back.join()

    thread = Thread(target=serve)
    thread.start()
    with listener:
        yield
        thread.join()


def examine(server, name="loquent_latest", pulled=None):
    with server.connect() as connection:
        require_development(server, connection, name, pulled=pulled)


def refusal(server, *arguments):
    """Return why nothing is built there."""
    with pytest.raises(OwnershipError) as refused:
        examine(server, *arguments)
    assert refused.value.hint.endswith("inv golden.build --force")
    assert server.url.text not in str(refused.value)
    return refused.value.why.splitlines()[0]


def test_only_this_machine_is_accepted(server, home):
    """A loopback address and a socket are this machine; no other address is."""
    examine(server)
    host, port = server.url.parameters["host"], int(server.url.parameters["port"])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home / ".s.PGSQL.5432"))
    listener.listen()
    with relayed(listener, (host, port)):
        examine(Server(DatabaseUrl.parse(server.url.conninfo(host=str(home), port="5432"))))
    # It leads to this machine, but it is not a loopback address.
    anywhere = Server(DatabaseUrl.parse(server.url.conninfo(host="0.0.0.0")))
    assert refusal(anywhere) == "it is at 0.0.0.0, not on this machine"


def test_names_of_production_are_refused(server):
    """Whole words in any part of the URL count; parts of other words do not."""
    for name in "prod", "my-production", "live", "LOQUENT_PROD", "prod2", "eu.live.db":
        assert refusal(server, name) == f"it looks like production: the name of its golden is `{name}`"
    for name in "product", "olive", "reproduction", "delivery", "prodigy", "lively":
        examine(server, name)
    url = DatabaseUrl.parse(server.url.conninfo(dbname="acme_production"))
    assert refusal(Server(url)) == "it looks like production: the name of its database is `acme_production`"
    with server.connect() as connection:
        try:
            connection.execute("CREATE ROLE app_live LOGIN SUPERUSER PASSWORD 'x'")
            url = DatabaseUrl.parse(server.url.conninfo(user="app_live", password="x"))
            assert refusal(Server(url)) == "it looks like production: the name of its user is `app_live`"
        finally:
            connection.execute("DROP ROLE app_live")


def test_source_of_pulls_is_refused(server):
    """The database that PULL_DATABASE_URL names is production, whatever its user; others on that server are not."""
    pulled = DatabaseUrl.parse(server.url.conninfo(dbname="loquent", user="reader"))
    assert refusal(server, "loquent", pulled).startswith("PULL_DATABASE_URL reads `loquent` there")
    examine(server, "loquent_latest", pulled)


def test_golden_cannot_take_any_name(server):
    """Names that PostgreSQL shortens, its own databases and clones are refused; any other name is accepted."""
    mark = OwnershipComment("repo", "feat_1", "clone", "loquent_latest", "2026-01-02T03:04:05+00:00")
    with server.connect() as connection:
        for name in "", "a" * 64, "ü" * 32, "a\0b":
            with pytest.raises(SettingsError, match="cannot be the name of"):
                require_name(connection, name)
        for name in "postgres", "template0", "template1":
            with pytest.raises(OwnershipError, match="is PostgreSQL's own database"):
                require_name(connection, name)
        for name in "a" * 63, "ü" * 31, "Odd name", "postgres2":
            require_name(connection, name)
        connection.execute("CREATE DATABASE somebodys")
        try:
            require_name(connection, "somebodys")
            set_comment(connection, SIGNER, "somebodys", mark)
            with pytest.raises(OwnershipError, match="`somebodys` is the clone of worktree `feat_1`"):
                require_name(connection, "somebodys")
        finally:
            connection.execute("DROP DATABASE somebodys")


def test_live_stripe_key_is_refused(account, server_url):
    """A database with a live key is refused; a sandbox key, no key, and no such table are accepted."""
    with psycopg.connect(server_url) as elsewhere:
        require_sandbox(elsewhere, "elsewhere")
    for key in "NULL", "'sk_test_0'", "'rk_test_0'":
        account.run(f"UPDATE core_conf SET stripe_secret_key = {key}")
        require_sandbox(account.connection, "golden")
    for key in "sk_live_0", "rk_live_0":
        account.run(f"UPDATE core_conf SET stripe_secret_key = '{key}'")
        with pytest.raises(OwnershipError, match="has a live Stripe key") as refused:
            require_sandbox(account.connection, "golden")
        assert key not in str(refused.value)


def test_database_with_code_of_another_role_is_refused(server):
    """Functions and triggers of another role would run as ours; given to our role, the search path is the product's."""
    role = sql.Identifier(f"role_{secrets.token_hex(4)}")
    name = f"account_{secrets.token_hex(4)}"
    with server.connect() as admin:
        admin.execute(sql.SQL("CREATE ROLE {}").format(role))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with server.connect(name) as session:
            session.execute(sql.SQL("CREATE SCHEMA theirs AUTHORIZATION {}; SET ROLE {}").format(role, role))
            session.execute("CREATE FUNCTION theirs.f() RETURNS int LANGUAGE sql RETURN 1")
            session.execute("RESET ROLE")
            with pytest.raises(OwnershipError) as caught, connect_with_search_path(server, name):
                pass
            assert role.as_string() in caught.value.hint
            session.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
        admin.execute(sql.SQL("ALTER DATABASE {} SET search_path = theirs").format(sql.Identifier(name)))
        with connect_with_search_path(server, name) as session:
            assert session.execute("SELECT f()").fetchone() == (1,)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(role))
