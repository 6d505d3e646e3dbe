"""Connecting: what each refusal means, said without the password."""

from __future__ import annotations

import os
import socket
import sys
import threading

import psycopg
import pytest

from tasks_lib import waits
from tasks_lib.databases.server.connection import Server, require_psycopg, scalar
from tasks_lib.databases.server.url import EMBEDDED, DatabaseUrl
from tasks_lib.errors import DatabaseError, GoldentreeError, ServerError


@pytest.fixture
def url(server_url):
    return DatabaseUrl.parse(server_url)


def refused(url, database="postgres"):
    """Return the error of a connection that must not come about."""
    with pytest.raises(GoldentreeError) as caught, Server(url).connect(database):
        pass
    return caught.value


def test_connects_to_the_maintenance_database(url):
    """Without a name, the maintenance database is meant, whichever the URL names; statements commit at once."""
    with Server(url.with_database("template1")).connect() as connection:
        assert connection.info.dbname == "postgres"
        assert connection.autocommit
        assert scalar(connection, "SHOW application_name") == f"goldentree {waits.current_task()} {os.getpid()}"


def test_parameters_of_the_url_are_kept(url):
    """An application name and a timeout of the URL's own are kept."""
    with Server(DatabaseUrl.parse(f"{url.text}?application_name=mine&connect_timeout=3")).connect() as connection:
        assert scalar(connection, "SHOW application_name") == "mine"
        assert connection.info.get_parameters()["connect_timeout"] == "3"


def test_refused_login_shows_no_password(url):
    """A refused login says who was refused; neither the wrong nor the right password is in it."""
    text = url.text.replace(url.parameters["password"], "hunter2")
    error = refused(DatabaseUrl.parse(text))

    assert isinstance(error, ServerError)
    assert "the server rejects the login of postgresql://goldentree:***@" in error.what
    assert "hunter2" not in str(error)


def test_unknown_role_is_a_refused_login(url):
    """So does one of a role that does not exist."""
    assert "rejects the login" in refused(DatabaseUrl.parse(url.text.replace("goldentree:", "nobody_known:"))).what


def test_missing_database_is_named_plainly(url):
    """A missing database is named, and the error does not blame the server."""
    error = refused(url, "no such %s")

    assert type(error) is DatabaseError
    assert "database `no such %s` does not exist" in error.what


def test_closed_port_differs_from_refused_login(url):
    """The error distinguishes a closed port from a refused login, and names the fix."""
    error = refused(DatabaseUrl.parse(url.text.replace(f":{url.parameters['port']}/", ":1/")))

    assert isinstance(error, ServerError)
    assert "no PostgreSQL server answers at postgresql://goldentree:***@127.0.0.1:1/postgres" in error.what
    assert url.parameters["password"] not in str(error)


def test_embedded_server_that_has_ended_is_started_by_a_command():
    """Nothing that the user wrote names it, so there is nothing to correct."""
    url = "postgresql://goldentree:hunter2@127.0.0.1:1/postgres"

    assert refused(DatabaseUrl.parse(url, source=EMBEDDED)).hint == "inv server.start"


def test_silent_server_times_out_as_the_url_says():
    """A port that accepts and stays silent is given up on after the URL's own timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = refused(DatabaseUrl.parse(f"postgresql://u:hunter2@127.0.0.1:{port}/x?connect_timeout=2"))

    assert "timeout" in error.why
    assert "hunter2" not in str(error)


def test_lost_connection_is_a_server_error(url):
    """A session that is ended under us is an error of the server, not of the statement."""
    with pytest.raises(ServerError, match="the connection to the server was lost"), Server(url).connect() as connection:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_failed_statement_keeps_postgres_words(url):
    """What PostgreSQL says to a statement is passed on, with its state, its detail and its hint."""
    with pytest.raises(DatabaseError) as caught, Server(url).connect() as connection:
        connection.execute("SELECT lenght('')")

    assert caught.value.what == "PostgreSQL refused in `postgres` (42883)"
    assert "lenght" in caught.value.why
    assert "No function matches" in str(caught.value)


def test_missing_right_names_its_database(url):
    """A missing right names the database in which it is missing."""
    with pytest.raises(DatabaseError, match="no permission in `postgres`"), Server(url).connect() as connection:
        connection.execute("SET ROLE pg_monitor; CREATE ROLE x")


def test_our_own_mistakes_stay_bugs(url):
    """A statement with a parameter too few is our mistake, and not reported as the server's."""
    with pytest.raises(psycopg.ProgrammingError), Server(url).connect() as connection:
        connection.execute("SELECT %s", [])


def test_the_connection_is_closed(url):
    """Whatever happens in the block, no session stays behind."""
    with pytest.raises(KeyboardInterrupt), Server(url).connect() as connection:
        raise KeyboardInterrupt
    assert connection.closed


def test_direct_connection_is_not_a_pooler(url):
    """A direct connection to the server does not count as a pooler's."""
    with Server(url).connect() as connection:
        Server(url).require_direct(connection)


def test_a_pooler_is_found_out(url):
    """What answers with another process id than the server's is a pooler, though the URL looks direct."""
    with (
        renumbering_proxy(url) as through,
        Server(through).connect() as connection,
        pytest.raises(ServerError, match="connection pooler"),
    ):
        Server(through).require_direct(connection)


class renumbering_proxy:  # noqa: N801 - reads as a function
    """Stand between client and server and make up the key data, as poolers do; one connection."""

    def __init__(self, url):
        self.server = (url.parameters["host"], int(url.parameters["port"]))
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        # Not `prefer`: the first packet is to be the start-up.
        self.url = DatabaseUrl.parse(
            url.text.replace(f":{url.parameters['port']}/", f":{port}/") + "?sslmode=disable&gssencmode=disable"
        )

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self.url

    def __exit__(self, *_):
        self.thread.join()
        self.listener.close()

    def serve(self):
        client, _ = self.listener.accept()
        with client, socket.create_connection(self.server) as server:
            sending = threading.Thread(target=self.carry, args=[client, server])
            sending.start()
            self.carry(server, client, self.renumbered)
            sending.join()

    @staticmethod
    def carry(source, target, change=lambda data: data):
        while data := source.recv(65536):
            target.sendall(change(data))
        target.shutdown(socket.SHUT_WR)

    @staticmethod
    def renumbered(data):
        start = data.find(b"K\0\0\0\x0c")  # BackendKeyData: length 12, process id, key
        return data if start < 0 else data[: start + 5] + b"\0\0\x30\x39" + data[start + 9 :]


def test_psycopg_without_libpq_names_the_fix(monkeypatch):
    """A psycopg that finds no libpq is an error with the command that brings one."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ServerError) as caught:
        require_psycopg()

    assert 'pip install "psycopg[binary]"' in caught.value.hint
