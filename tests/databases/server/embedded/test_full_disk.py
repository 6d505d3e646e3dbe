"""A disk that is full or read-only, and too few descriptors: a clear error, and the data stays as it was."""

from __future__ import annotations

import os
import resource
import subprocess

import pytest

from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.embedded.cluster import Cluster, default_root
from tasks_lib.errors import ServerError


@pytest.fixture
def disk(home):
    """Mount a disk of 160 MB where the embedded server's root goes."""
    root = home / "goldentree"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m,mode=711", "tmpfs", root], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield root
    Cluster(root).stop()
    subprocess.run(["umount", "--lazy", root], check=True)


def test_start_on_a_full_or_read_only_disk_keeps_the_data(disk):
    """It names the cause and the cure, leaves no pid file, and works as before once there is room."""
    cluster = Cluster(default_root(), durable=False)
    url = cluster.start()
    cluster.stop()
    with (disk / "fill").open("wb") as file:
        free = os.statvfs(disk)
        file.write(bytes(free.f_bavail * free.f_frsize))
    with pytest.raises(ServerError, match="No space left on device") as caught:
        cluster.start()
    assert caught.value.hint.splitlines()[-1].startswith("df -h ")
    assert not (cluster.data / "postmaster.pid").exists()

    (disk / "fill").unlink()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert not cluster.status().running
    with pytest.raises(ServerError, match="Read-only file system"):
        cluster.start()
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert cluster.start() == url


def test_too_few_descriptors_are_not_missing_programs(home):
    """What the machine refuses says nothing about the programs of PostgreSQL."""
    cluster = Cluster(home / "goldentree", durable=False)
    cluster.start()
    cluster.stop()
    child = os.fork()
    if not child:
        binaries._version.cache_clear()
        held = [os.dup(0) for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 6, max(held) + 6))
        try:
            cluster.start()
        except ServerError as error:
            os._exit(7 if "Too many open files" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
