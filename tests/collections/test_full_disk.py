"""A full disk, and a limit of open files: a clear error, nothing half-made, and all is well once there is room."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 3 MB where the repository and its worktrees go."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def leave(disk, count):
    """Fill *disk* but for *count* bytes."""
    size = (disk / "fill").stat().st_size if (disk / "fill").exists() else 0
    status = os.statvfs(disk)
    with (disk / "fill").open("ab") as file:
        file.write(bytes(max(status.f_bavail * status.f_frsize - count, 0)))
    assert size <= (disk / "fill").stat().st_size


@pytest.mark.parametrize("left", [0, 4096, 12288, 40960])
def test_full_disk_is_a_clear_error_and_leaves_nothing(small_disk, repository, left):
    """Wherever a creation runs out of space, it rolls back; lists still work, and Python prints no traceback."""
    leave(small_disk, left)
    created = repository.inv("worktree.create", "a")
    assert created.returncode == 1
    assert "error: " in created.stderr
    assert "\nhint: " in created.stderr
    listed = repository.inv("worktree.list", "--quick")
    assert (listed.returncode, "a" in listed.stdout.split()) == (0, False), listed.stderr
    assert "Traceback" not in created.stderr + listed.stderr
    (small_disk / "fill").unlink()
    assert repository.databases() == []
    assert repository.inv("worktree.create", "a").returncode == 0


def test_cache_that_cannot_be_written_fails_no_command(small_disk, repository):
    """The fingerprint of golden is read each time; the list is complete."""
    repository.json("worktree.create", "a")
    for cache in (repository.path / ".git/goldentree/databases").glob("fingerprint-*"):
        cache.unlink()
    leave(small_disk, 0)
    _, row = repository.json("worktree.list")
    assert row["drift"]["golden_changed"] is False


def test_few_descriptors_are_a_clear_error(repository):
    """The error names the limit, and nothing is left."""
    script = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))\n"
    script += "from tasks_lib.program import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, "worktree.create", "a"],
        cwd=repository.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "ulimit -n 1024" in result.stderr
    assert "Traceback" not in result.stderr
    assert repository.databases() == []
    assert repository.records() == {}
