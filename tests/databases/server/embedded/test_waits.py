"""A server that starts, recovers, stops or does not answer is waited for, with a word and a limit."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from tasks_lib.databases.server.embedded import cluster as module
from tasks_lib.databases.server.embedded import launch, life_lock, service
from tasks_lib.databases.server.embedded.cluster import Cluster
from tasks_lib.errors import ServerError
from tasks_lib.files import file_lock


@pytest.fixture(scope="module")
def running():
    """Give a running server for the tests of this module."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o711)
    cluster = Cluster(root / "goldentree", durable=False)
    cluster.start()
    yield cluster
    cluster.destroy()
    root.rmdir()


def test_running_server_needs_no_lock(running):
    """Another process may start or stop it for minutes; those who only need the URL do not wait for that."""
    with file_lock(running.root / "lock"):
        began = time.monotonic()
        assert running.start() == running.url

    assert time.monotonic() - began < 1


def test_wait_for_the_start_names_the_process_and_ends(running, monkeypatch, capfd):
    """After a second it is said who starts the server; after the limit it is an error."""
    monkeypatch.setattr(module, "_PATIENCE", 1.2)
    monkeypatch.setattr(module.postmaster, "find", lambda _: None)
    with file_lock(running.root / "lock"), pytest.raises(ServerError, match="starts or stops the embedded server"):
        running.start()

    assert f"process {os.getpid()}" in capfd.readouterr().err


def test_start_waits_while_the_server_recovers(running, monkeypatch):
    """After a crash of one session PostgreSQL accepts none for a moment, while its pid file says `ready`."""
    answers = [service.BUSY, service.SILENT, service.BUSY, service.ACCEPTS]
    monkeypatch.setattr(service, "ping", lambda _: answers.pop(0))

    assert running.start() == running.url
    assert answers == []


def test_stopped_server_is_named_with_what_continues_it(running, monkeypatch, capfd):
    """A server that was stopped accepts connections and never answers."""
    monkeypatch.setattr(module, "_SILENCE_SECONDS", 0.5)
    pid = running.status().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerError, match="does not answer") as caught:
            running.start()
    finally:
        os.kill(pid, signal.SIGCONT)

    assert caught.value.hint.splitlines()[-1] == f"kill -CONT {pid}"
    assert running.start() == running.url


def test_changed_port_of_a_running_server_is_named(running):
    """An edit of the port counts from the next start on; until then the URL would lead nowhere."""
    written = running.service_file.read_text()
    port = service.read_service(running.service_file).port
    running.service_file.write_text(written.replace(f"port={port}", "port=1"))
    try:
        with pytest.raises(ServerError, match=f"runs on port {port}, but") as caught:
            running.start()
    finally:
        running.service_file.write_text(written)

    assert caught.value.hint.splitlines()[-1] == "inv server.stop"


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("FATAL:  could not write lock file: No space left on device", "did not start"),
        ('LOG:  could not bind IPv4 address "127.0.0.1": Address already in use', "port 7 .* is taken"),
        ('LOG:  could not bind IPv4 address "127.0.0.1": Cannot assign requested address', "did not start"),
    ],
)
def test_start_is_judged_by_the_words_of_postgresql(tmp_path, said, what):
    """A bound port is a stranger's only if PostgreSQL says that it could not bind it."""
    with pytest.raises(ServerError, match=what) as caught:
        launch_with(tmp_path, said)

    assert said in caught.value.why
    assert caught.value.hint


@pytest.mark.parametrize(
    "said",
    ["pre-existing shared memory block (key 1, ID 2) is still in use", 'lock file "postmaster.pid" already exists'],
)
def test_processes_that_leave_are_waited_for(tmp_path, said):
    """They belong to the server that ended, and do so by themselves."""
    assert said in launch_with(tmp_path, f"FATAL:  {said}")


def launch_with(folder, said):
    """Launch a server whose programs print *said* and fail."""
    folder.chmod(0o711)
    program = folder / "pg_ctl"
    program.write_text(f"#!/bin/sh\necho '{said}'\nexit 1\n")
    program.chmod(0o755)

    class Programs:
        def program(self, _):
            return program

    lock = life_lock.take(folder / "server.lock")
    try:
        return launch.launch_postmaster(Programs(), None, folder, folder / "server.log", 7, lock)
    finally:
        os.close(lock)


def test_start_waits_for_a_stop_to_end(running):
    """A start during a stop neither fails nor returns the URL of a server that ends at once."""
    stop = threading.Thread(target=running.stop)
    stop.start()
    while running.status().running:
        time.sleep(0.001)
    with psycopg.connect(running.start()) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    stop.join()
    assert psutil.pid_exists(running.status().pid)
