"""A worktree on which a process works is not incomplete; one whose process was killed is."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time

import pytest

from tasks_lib.worktrees.registry import Registry
from tests import forks


@pytest.fixture
def held(repository):
    """Give a repository in which a process creates worktree `a`, until the file that it also gives is deleted."""
    hold, begun = repository.path.parent / "hold", repository.path.parent / "begun"
    hold.touch()
    migrate = f"sh -c 'touch {begun}; while [ -e {hold} ]; do sleep 0.02; done'"
    creating = forks.inv("worktree.create", "a", cwd=repository.path, env={"WORKTREE_MIGRATE": migrate})
    deadline = time.monotonic() + 30
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield repository, creating.pid
    hold.unlink()
    creating.wait()


def doctor(repository):
    """Return the finding on worktree `a`, and whether anything is left over."""
    found = repository.inv("doctor", "--json")
    findings = json.loads(found.stdout)["data"]
    assert not [finding for finding in findings if finding["subject"] == "leftovers"]
    [finding] = [finding for finding in findings if finding["subject"] == "a"]
    return finding


def test_running_creation_is_not_interrupted(held):
    """Doctor, list, status and gc name the process; none offers a cure that would be refused."""
    repository, pid = held
    finding = doctor(repository)
    assert finding["level"] == "ok"
    assert finding["text"].startswith(f"it is being created by process {pid} (worktree.create, since ")
    assert finding["cure"] is None
    _, row = repository.json("worktree.list")
    assert (row["state"], row["worker"]["pid"], row["worker"]["stopped"]) == ("creating", pid, False)
    listed = repository.inv("worktree.list")
    assert "interrupted" not in listed.stdout
    assert "DATABASE_URL" not in listed.stderr
    status = repository.inv("worktree.status", "a")
    assert status.returncode == 0, status.stdout
    assert f"it is being created by process {pid}" in status.stdout
    assert repository.inv("worktree.gc", "--yes").stdout == "nothing to delete\n"
    assert f"process {pid} " in repository.inv("worktree.create", "a").stderr


def test_stopped_creation_says_how_to_continue_it(held):
    """It is a warning, with the signal that continues it."""
    repository, pid = held
    os.kill(pid, signal.SIGSTOP)
    try:
        finding = doctor(repository)
        assert finding["level"] == "warning"
        assert finding["cure"].endswith(f"\nkill -CONT {pid}")
        status = repository.inv("worktree.status", "a")
        assert status.returncode == 1
        assert f"kill -CONT {pid}" in status.stdout
        assert "creating, stopped" in repository.inv("worktree.list").stdout
    finally:
        os.kill(pid, signal.SIGCONT)


def test_killed_creation_is_interrupted(held):
    """The same commands name the cure, and the cure works."""
    repository, pid = held
    os.kill(pid, signal.SIGKILL)
    while Registry(repository.path / ".git").find_worker(next(iter(repository.records()))):
        time.sleep(0.01)
    assert "creating, interrupted" in repository.inv("worktree.list").stdout
    _, row = repository.json("worktree.list")
    assert row["worker"] is None
    status = repository.inv("worktree.status", "a")
    assert "its creation was interrupted" in status.stdout
    assert "hint: inv worktree.create a" in status.stdout
    assert repository.json("worktree.create", "a")["branch"] == "a"


def test_looking_makes_no_command_fail(repository):
    """A creation that begins while others look at its lock does not take them for workers."""
    registry = Registry(repository.path / ".git")
    with registry.working_on("a"):
        pass
    for _ in range(20):
        descriptor = os.open(repository.path / ".git/goldentree/worktrees/a.lock", os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        threading.Timer(0.005, os.close, [descriptor]).start()
        with registry.working_on("a"):
            pass
