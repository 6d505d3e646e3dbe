"""One root and several containers: one server at most, whatever each of them can see of the others' processes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import psycopg
import pytest

from tasks_lib.databases.server.embedded import life_lock, view
from tasks_lib.databases.server.embedded.cluster import Cluster, default_root
from tasks_lib.errors import ServerError

OUTCOME = """
import sys
from tasks_lib.databases.server.embedded.cluster import *
cluster = Cluster(default_root(), durable=False)
try:
    print(getattr(cluster, sys.argv[1])())
except ServerError as error:
    print(error)
"""


def _can_make_namespaces():
    made = shutil.which("unshare") and subprocess.run(
        ["unshare", "-pfin", "--mount-proc", "true"], capture_output=True, check=False
    )
    return bool(made) and made.returncode == 0


needs_namespaces = pytest.mark.skipif(not _can_make_namespaces(), reason="only root can make pid namespaces, on Linux")
ALONE = ("unshare", "-pfin", "--mount-proc")
"""As a container: own pids, own network, own shared memory."""
SHARED_NETWORK = ("unshare", "-pf", "--mount-proc")


@pytest.fixture
def cluster():
    """Name a server that is still to be made; the `home` fixture destroys it."""
    return Cluster(default_root(), durable=False)


def spawn(container, action):
    command = [*container, "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$0" "$@"', sys.executable, "-c", OUTCOME]
    return subprocess.Popen([*command, action], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def call(container, action):
    """Call a method of the cluster in a container, and return what it returned or said."""
    return spawn(container, action).communicate()[0].strip()


def count_postmasters(data):
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return sum(command[1:3] == ["-D", str(data)] for command in found)


def answers(url):
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


@needs_namespaces
def test_container_leaves_the_server_of_another_alone(cluster):
    """It says where the server runs, removes nothing, starts nothing, and ends no process that has the same number."""
    url = cluster.start()
    before = (cluster.data / "postmaster.pid").read_text()
    for action in ("start", "stop", "destroy"):
        said = call(ALONE, action)

        assert f"`{cluster.root}` runs on `" in said
        assert "in another container or pid namespace" in said
        assert before == (cluster.data / "postmaster.pid").read_text()
        assert count_postmasters(cluster.data) == 1
    assert answers(url)


@needs_namespaces
def test_container_with_the_same_network_uses_the_server(cluster):
    """The pid means nothing there, but the port answers."""
    url = cluster.start()

    assert call(SHARED_NETWORK, "start") == url
    shown = call(SHARED_NETWORK, "status")
    assert "running=True" in shown
    assert "pid=None" in shown
    assert count_postmasters(cluster.data) == 1


@needs_namespaces
def test_containers_that_start_together_make_one_server(cluster):
    """The others find it or say where it is, also those that waited while it was made."""
    starts = [spawn(container, "start") for container in (ALONE, SHARED_NETWORK, ALONE, ())]
    said = [start.communicate()[0] for start in starts]

    # A container ends with its first process, and its server with it: at most one can be left.
    assert count_postmasters(cluster.data) <= 1, said
    assert all("postgresql://" in text or "runs on `" in text for text in said), said


@needs_namespaces
def test_container_with_the_same_network_waits_for_a_start(cluster):
    """While another one makes the server, its port does not answer yet: it waits for that, and does not refuse."""
    first = spawn((), "start")
    while not (cluster.root / "server.lock").exists():
        time.sleep(0.005)

    assert call(SHARED_NETWORK, "start").splitlines()[-1] == first.communicate()[0].strip()


@needs_namespaces
def test_server_starts_again_after_its_container_ended(cluster):
    """The lock ends with the last process, so no person has to remove anything by hand."""
    call(ALONE, "start")

    assert (cluster.data / "postmaster.pid").exists()
    assert answers(cluster.start())


def test_session_that_outlives_its_postmaster_keeps_the_lock(cluster):
    """It may still write: a second server waits for it, and does not begin beside it."""
    url = cluster.start()
    slow = "DO $$ BEGIN WHILE clock_timestamp() < now() + interval '1.5 s' LOOP NULL; END LOOP; END $$"
    session = psycopg.connect(url, autocommit=True)
    session.pgconn.send_query(slow.encode())
    time.sleep(0.2)
    os.kill(cluster.status().pid, signal.SIGKILL)
    time.sleep(0.2)
    assert life_lock.is_held(cluster.root / "server.lock")
    began = time.monotonic()
    cluster.start()
    session.close()

    assert time.monotonic() - began > 0.5
    assert answers(url)


def test_process_that_stays_is_named_with_its_number(cluster, monkeypatch):
    """What a session started, and the server left behind, cannot be told from the server; it is named."""
    monkeypatch.setattr("tasks_lib.databases.server.embedded.cluster._LEAVING_SECONDS", 0.5)
    url = cluster.start()
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; sleep 60 & echo $! > left'")
    with pytest.raises(ServerError, match="others of it have not ended"):
        cluster.stop()
    left = int((cluster.data / "left").read_text())
    try:
        with pytest.raises(ServerError) as caught:
            cluster.start()
    finally:
        os.kill(left, signal.SIGKILL)

    assert caught.value.hint.splitlines()[-1] == f"kill {left}"
    assert answers(cluster.start())


def crashed(cluster):
    """Make a server and kill it, so that its pid file stays."""
    cluster.start()
    os.kill(cluster.status().pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while life_lock.is_held(cluster.root / "server.lock"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return json.loads((cluster.root / "server.lock").read_text())


def test_pid_file_of_an_earlier_boot_is_stale(cluster):
    """After a reboot the boot differs, and no process can hold a lock of this disk."""
    origin = crashed(cluster)
    (cluster.root / "server.lock").write_text(json.dumps(origin | {"boot": "another"}))

    assert answers(cluster.start())


@pytest.mark.parametrize(
    ("kind", "options", "shown"),
    [
        ("ext4", "rw", True),
        ("nfs4", "rw", True),
        ("nfs", "rw,nolock", False),
        ("nfs4", "rw,local_lock=all", False),
        ("virtiofs", "rw", False),
        ("fuse.sshfs", "rw", False),
    ],
)
def test_network_disk_shows_no_locks_unless_known(kind, options, shown):
    """Only a local disk, and NFS that keeps locks on its server, show the locks of other machines."""
    assert view.FileSystem(kind, frozenset(options.split(","))).shows_locks is shown


def test_server_restarted_by_hand_is_not_taken_for_the_one_with_the_lock(cluster):
    """`pg_ctl restart` gives it no lock, so a free lock does not prove that it has ended."""
    cluster.start()
    origin = life_lock.read_origin(cluster.root / "server.lock")
    started = int((cluster.data / "postmaster.pid").read_text().splitlines()[2])

    assert origin.is_of(started)
    assert not origin.is_of(started + 10)
    assert life_lock.Origin("devbox", "boot", since=started).is_of(started + 10)  # killed while it started


def test_other_machine_is_not_judged_where_its_locks_are_unseen(cluster, monkeypatch):
    """Its server may live; the start refuses, removes nothing, and says what to do if it does not."""
    origin = crashed(cluster)
    (cluster.root / "server.lock").write_text(json.dumps(origin | {"boot": "another", "place": "pod-7 pid:[1]"}))
    disk = view.FileSystem("virtiofs", frozenset({"rw"}))
    monkeypatch.setattr(view, "find_file_system", lambda _: disk)
    with pytest.raises(ServerError, match="may still run on `pod-7`") as caught:
        cluster.start()

    pid_file = cluster.data / "postmaster.pid"
    assert caught.value.hint.splitlines()[-1] == f"rm {pid_file}"
    assert pid_file.exists()
    with pytest.raises(ServerError, match="may still run on `pod-7`"):
        cluster.stop()
    monkeypatch.setattr(view, "find_file_system", lambda _: view.FileSystem("nfs4", frozenset({"rw"})))
    assert answers(cluster.start())


def test_disk_without_locks_gets_no_server(cluster, monkeypatch):
    """Without a lock nothing would keep a second server away."""
    (cluster.root).mkdir()
    (cluster.root / "server.lock").touch()

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    for action in (cluster.start, cluster.status):
        with pytest.raises(ServerError, match="No locks available"):
            action()
    assert not cluster.data.exists()
    monkeypatch.undo()


def start_as_an_earlier_version(cluster, container=()):
    """Start the server as goldentree did before it held a lock, and return its process."""
    cluster.start()
    cluster.stop()
    (cluster.root / "server.lock").unlink()
    code = (
        "import sys, time\n"
        "from tasks_lib.databases.server.embedded import cluster as module, launch\n"
        "run_as = launch.run_as\n"
        "launch.run_as = lambda *args, inherited=(), **options: run_as(*args, **options)\n"
        "module.life_lock.sign = lambda *_: None\n"
        "print(module.Cluster(module.default_root(), durable=False).start(), flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [*container, "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$0" "$@"', sys.executable, "-c", code]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert started.stdout.readline().startswith("postgresql://")
    assert not life_lock.is_held(cluster.root / "server.lock")
    return started


def test_server_of_an_earlier_version_is_used_and_stopped(cluster):
    """It holds no lock, but its process is here."""
    started = start_as_an_earlier_version(cluster)
    started.kill()

    assert cluster.status().running
    assert answers(cluster.start())
    assert count_postmasters(cluster.data) == 1
    cluster.stop()
    assert not cluster.status().running
    started.communicate()


@needs_namespaces
def test_server_of_an_earlier_version_elsewhere_is_not_doubled(cluster):
    """Without a lock no process can say from here whether it lives, so nothing is removed and nothing started."""
    started = start_as_an_earlier_version(cluster, ALONE)
    try:
        said = call(ALONE, "start")

        assert "may still run in another container" in said
        assert f"rm {cluster.data / 'postmaster.pid'}" in said.splitlines()[-1]
        with pytest.raises(ServerError, match="may still run in another container"):
            cluster.start()  # here all processes are visible, among them that server's
        assert count_postmasters(cluster.data) == 1
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
    deadline = time.monotonic() + 20
    while view.find_processes(cluster.data):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert answers(cluster.start())  # and here it is visible that it has ended
