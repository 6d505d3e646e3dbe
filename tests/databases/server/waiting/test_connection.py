"""A statement that takes long says why, and ends when nothing moves: with real locks and stopped processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import psutil
import pytest

from tasks_lib.databases.server import connection as connections
from tasks_lib.databases.server.connection import Server, scalar
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.databases.server.waiting import connection as watched
from tasks_lib.errors import DatabaseError, ServerError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Explain waits and lose patience within moments."""
    monkeypatch.setattr("tasks_lib.waits.QUIET_SECONDS", 0.05)
    monkeypatch.setattr(watched, "_ASK_SECONDS", 0.05)
    for name in ("LIMIT_SECONDS", "WORKING_SECONDS", "STOPPED_SECONDS", "GIVE_UP_SECONDS"):
        monkeypatch.setattr(watched, name, 0.3)


@contextmanager
def stopped(pid):
    """Stop the process *pid* for the length of the body."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_wait_for_a_lock_names_its_holder_and_ends(server, capsys):
    """With the command that ends the holder's session; the connection can be used afterwards."""
    with server.connect() as holder, server.connect() as connection:
        holder.execute("SELECT pg_advisory_lock(7)")
        with pytest.raises(DatabaseError, match="a lock was not released") as caught:
            connection.execute("SELECT pg_advisory_lock(7)")
        pid = holder.info.backend_pid
        said = capsys.readouterr().err
        assert f"… waiting up to 0.3 s for a lock: session {pid} (" in said
        assert said.count("waiting") == 1
        assert "idle since " in said
        assert str(caught.value).endswith(f'psql -c "SELECT pg_terminate_backend({pid})"')
        assert scalar(connection, "SELECT 1") == 1


def test_a_long_statement_that_nothing_holds_up_runs_to_its_end(server, capsys):
    """However long it takes: that may be a copy of a large database."""
    with server.connect() as connection:
        assert scalar(connection, "SELECT 1 FROM pg_sleep(0.8)") == 1
    assert capsys.readouterr().err == ""


def test_a_stopped_server_process_is_named_and_the_statement_ends(own, capsys):
    """The connection is cut, because a stopped process does not heed a cancellation."""
    with (
        own.server.connect() as connection,
        stopped(pid := connection.info.backend_pid),
        pytest.raises(ServerError, match="is stopped") as caught,
    ):
        connection.execute("SELECT 1")
    assert str(caught.value).endswith(f"kill -CONT {pid}")
    assert f"process {pid} of the server is stopped" in capsys.readouterr().err


def test_ctrl_c_does_not_wait_for_a_stopped_server_process(own, monkeypatch):
    """It is answered as soon as the cancellation has had its time."""
    monkeypatch.setattr(watched, "STOPPED_SECONDS", 60)
    with own.server.connect() as connection, stopped(connection.info.backend_pid):
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            connection.execute("SELECT 1")
        assert time.monotonic() - started < 2


@pytest.mark.skipif(not psutil.LINUX, reason="only Linux tells the names of other processes")
def test_a_drop_behind_a_process_that_does_not_answer_names_it(own, capsys):
    """Every process of the server must close its files of the dropped database; one that is stopped does not."""
    if own.admin.info.server_version < 150_000:
        pytest.skip("before 15, a drop does not wait for other processes")
    golden = own.golden()
    with (
        own.connect("postgres") as bystander,
        own.server.connect() as connection,
        stopped(pid := bystander.info.backend_pid),
        pytest.raises(ServerError, match="is stopped"),
    ):
        connection.execute(f"DROP DATABASE {golden}")
    said = capsys.readouterr().err
    assert f"process {pid} of the server (client backend) is stopped" in said
    assert f"kill -CONT {pid}" in said
    own.run("DROP DATABASE {}", golden)


SILENT = """import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(60)"""


@pytest.mark.parametrize("stop", [False, True])
def test_a_server_that_does_not_answer_is_waited_for_once(monkeypatch, capsys, stop):
    """After a word about it; and if the process that listens there is stopped, the error says so."""
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT", "2")
    monkeypatch.setattr(connections, "_silent", {})
    with subprocess.Popen([sys.executable, "-c", SILENT], stdout=subprocess.PIPE, text=True) as process:
        server = Server(DatabaseUrl.parse(f"postgresql://u:secret@127.0.0.1:{int(process.stdout.readline())}/x"))
        if stop:
            process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        for database in ("x", "y"):
            with pytest.raises(ServerError) as caught, server.connect(database):
                pass
        assert time.monotonic() - started < 3.5
        process.kill()
    said = capsys.readouterr().err
    assert said.count("waiting for the server at ") == 1
    assert "secret" not in said + str(caught.value)
    assert str(caught.value).endswith(f"kill -CONT {process.pid}") == stop
