"""The fence: a tool's sessions on guarded databases are ended, everybody else's stay."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tasks_lib.databases.compare.queries import read_contents_of
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.embedded.cluster import Cluster
from tasks_lib.databases.server.embedded.disposable import disposable_server
from tasks_lib.databases.server.fence import Fence
from tasks_lib.databases.server.peers import Route
from tasks_lib.databases.server.url import DatabaseUrl
from tests.databases.conftest import Place

HARM = "BEGIN; DELETE FROM person; SELECT pg_sleep(15); COMMIT"


@pytest.fixture(scope="module")
def server_with_socket(programs):
    """Give a server that also listens on a Unix socket, and the socket's directory."""
    folder = Path(tempfile.mkdtemp(prefix="fence-"))
    folder.chmod(0o777)
    with disposable_server(programs) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET unix_socket_directories = '{folder}'")
            (data,) = connection.execute("SHOW data_directory").fetchone()
        cluster = Cluster(Path(data).parent, durable=False, binaries=programs)
        cluster.stop()
        cluster.start()
        yield Server(DatabaseUrl.parse(url)), folder
    folder.rmdir()


@contextmanager
def proxy(target):
    """Give the port of a TCP proxy to the port *target* of this machine."""

    def copy(source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve():
        with suppress(OSError), ExitStack() as opened:
            while True:
                client = opened.enter_context(listener.accept()[0])
                server = opened.enter_context(socket.create_connection(("127.0.0.1", int(target))))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=copy, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class Fenced:
    """A golden template, a clone of it, and tools that run inside a fence around golden."""

    def __init__(self, place, folder):
        self.place = place
        self.folder = folder
        self.golden = place.golden("CREATE TABLE person AS SELECT generate_series(1, 3) AS id")
        self.clone = place.golden("CREATE TABLE person AS SELECT generate_series(1, 3) AS id")

    def psql(self, database, script, **overrides):
        """Return a shell command that runs *script* in *database*, whatever its environment says."""
        conninfo = self.place.server.url.conninfo(dbname=database, **overrides)
        program = self.place.clients().program("psql")
        return shlex.join([str(program), "-Xq", "-v", "ON_ERROR_STOP=1", "-c", script, conninfo])

    def run(self, command, server=None):
        """Run *command* in the fence, and return its status and what the fence found."""
        with (server or self.place.server).connect() as connection:
            fence = Fence(connection, {self.golden})
            tool = subprocess.Popen(["sh", "-c", command], start_new_session=True, stdout=subprocess.DEVNULL)

            def end():
                with suppress(ProcessLookupError):
                    os.killpg(tool.pid, signal.SIGKILL)

            with fence.watch(tool.pid, end):
                status = tool.wait(timeout=30)
        return status, fence.intrusions

    def rows(self, database):
        return self.place.rows(database, "SELECT count(*) FROM person")[0][0]


@pytest.fixture
def fenced(server_with_socket, tmp_path):
    server, folder = server_with_socket
    with server.connect() as admin:
        place = Place(server, admin, tmp_path / "databases")
        yield Fenced(place, folder)
        place.close()


@pytest.mark.parametrize("how", ["itself", "grandchild", "orphan", "other session"])
def test_tool_on_a_guarded_database_is_stopped(fenced, how):
    """Its transaction rolls back, whichever of its processes is connected; the finding names the process."""
    before = read_contents_of(fenced.place.server, fenced.golden)
    psql = fenced.psql(fenced.golden, HARM)
    command = {
        "itself": f"exec {psql}",
        "grandchild": f"sh -c {shlex.quote(f'{psql}; true')}; true",
        "orphan": f"(({psql}) & ) ; sleep 15",
        "other session": f"setsid {psql} & wait $!",
    }[how]
    started = time.monotonic()
    _, (found,) = fenced.run(command)  # a shell that goes on after psql may still exit with 0
    assert time.monotonic() - started < 12
    assert (found.database, found.client.program, found.ended) == (fenced.golden, "psql", True)
    assert not found.client.process.is_running() or found.client.process.status() == "zombie"
    assert read_contents_of(fenced.place.server, fenced.golden) == before


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux tells which sockets are connected")
@pytest.mark.parametrize("ours", ["TCP", "Unix"])
def test_tool_on_a_unix_socket_is_stopped(fenced, ours):
    """The server does not know the address of such a client; the kernel knows its peer."""
    server = fenced.place.server
    if ours == "Unix":
        server = Server(DatabaseUrl.parse(server.url.conninfo(host=str(fenced.folder))))
    before = read_contents_of(server, fenced.golden)
    status, (found,) = fenced.run(f"exec {fenced.psql(fenced.golden, HARM, host=str(fenced.folder))}", server)
    assert status
    assert found.client.program == "psql"
    assert read_contents_of(server, fenced.golden) == before
    # A tool on TCP is found as well.
    status, (found,) = fenced.run(f"exec {fenced.psql(fenced.golden, HARM)}", server)
    assert status
    assert found.client.program == "psql"


@pytest.mark.parametrize("host", ["127.0.0.1", "socket"])
def test_other_clients_keep_their_sessions(fenced, host):
    """They connect to the guarded database before the tool runs and while it does; the tool uses its own database."""
    host = str(fenced.folder) if host == "socket" else host
    with fenced.place.connect(fenced.golden, host=host) as early:
        opens = fenced.place.folder.parent / "opens"
        script = fenced.psql(fenced.clone, "DELETE FROM person; SELECT pg_sleep(1)", host=host)
        late = subprocess.Popen(
            [
                "sh",
                "-c",
                f"sleep 0.3; {fenced.psql(fenced.golden, 'SELECT pg_sleep(1); SELECT 1', host=host)} > {opens}",
            ]
        )
        assert fenced.run(f"{script}; {script}") == (0, [])
        assert late.wait() == 0
        assert "1" in opens.read_text()
        assert early.execute("SELECT count(*) FROM person").fetchone() == (3,)
    assert fenced.rows(fenced.clone) == 0


@pytest.mark.parametrize("proxied", ["we", "the tool", "both"])
def test_translated_addresses_prove_nothing(fenced, proxied):
    """Where a proxy or a container's port map changes addresses, another client may have the same one: it stays."""
    with proxy(fenced.place.server.url.parameters["port"]) as port:
        ours = fenced.place.server
        if proxied != "the tool":
            ours = Server(DatabaseUrl.parse(ours.url.conninfo(port=port)))
        with ours.connect() as connection:
            leads = Route.of(connection).leads_to("127.0.0.1", int(ours.url.parameters["port"]))
        assert leads == (proxied == "the tool")
        overrides = {} if proxied == "we" else {"port": port}
        command = fenced.psql(fenced.golden, "SELECT pg_sleep(0.5)", **overrides)
        assert fenced.run(command, ours) == (0, [])


def test_session_that_our_role_may_not_end_ends_with_the_tool(fenced):
    """The tool is ended even where the server refuses to end its session for us, and the finding says so."""
    place = fenced.place
    name = place.role("LOGIN")
    place.execute("postgres", f"GRANT pg_read_all_stats TO {name}")
    status, (found,) = fenced.run(f"exec {fenced.psql(fenced.golden, HARM)}", place.as_role(name))
    assert (status, found.client.program, found.ended) == (-signal.SIGKILL, "psql", False)
    place.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [fenced.golden])
    assert fenced.rows(fenced.golden) == 3


def test_maintenance_database_is_guarded_if_it_has_tables(fenced):
    """Tools create databases from `postgres`, which many URLs name; with tables in it, it is an application's."""
    with fenced.place.server.connect() as connection:
        assert Fence(connection, {"postgres", fenced.golden}).databases == {fenced.golden}
        connection.execute("CREATE TABLE public.mine ()")
        try:
            assert Fence(connection, {"postgres", fenced.golden}).databases == {"postgres", fenced.golden}
        finally:
            connection.execute("DROP TABLE public.mine")
