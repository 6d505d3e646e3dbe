"""Processes in a worktree: found by their working directory, and ended with SIGTERM first; no others are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tasks_lib.errors import WorktreeError
from tasks_lib.worktrees.processes import RunningProcess, end_processes, find_processes_in

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"

CARELESS = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "99"], cwd=sys.argv[1])
print(1, flush=True)
time.sleep(99)
"""

ASK = """
from pathlib import Path
from tasks_lib.worktrees.processes import find_processes_in
print(*[process.pid for process in find_processes_in(Path())])
"""


@pytest.fixture
def start():
    """Give a function that starts a process in a directory; all of them end with the test."""
    children = []

    def start(cwd, *command, **options):
        cwd.mkdir(parents=True, exist_ok=True)
        children.append(subprocess.Popen(command or ("sleep", "99"), cwd=cwd, stdout=subprocess.PIPE, **options))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


def test_processes_below_the_directory_are_found(start, tmp_path):
    """Processes in the directory or below it, also when it is deleted; not those of a sibling that is named alike."""
    tree = tmp_path / "app-a"
    top, below, deleted = start(tree), start(tree / "deep"), start(tree / "deleted")
    start(tmp_path / "app-a-b")
    (tree / "deleted").rmdir()
    expected = [(top.pid, tree), (below.pid, tree / "deep"), (deleted.pid, tree / "deleted")]
    found = find_processes_in(tree)
    assert [(process.pid, process.cwd) for process in found] == sorted(expected)
    assert {process.name for process in found} == {"sleep"}
    shutil.rmtree(tree)
    (tmp_path / "link").symlink_to(tree)
    assert [process.pid for process in find_processes_in(tmp_path / "link")] == [process.pid for process in found]


def test_the_calling_process_is_spared(start, tmp_path):
    """The calling process and its ancestors are spared, the server beside them is not."""
    server = start(tmp_path)
    shell = start(tmp_path, "sh", "-c", f'"{sys.executable}" -c "{ASK}"; true')
    assert shell.communicate()[0].decode().split() == [str(server.pid)]


def test_stubborn_processes_are_killed_after_term(start, tmp_path):
    """TERM first; KILL for those that ignore it or are stopped; what ended by itself is not counted."""
    gentle, stubborn, stopped = start(tmp_path), start(tmp_path, sys.executable, "-c", STUBBORN), start(tmp_path)
    gone = start(tmp_path)
    stubborn.stdout.readline()
    stopped.send_signal(signal.SIGSTOP)
    running = find_processes_in(tmp_path)
    gone.kill()
    gone.wait()
    ended = {process.pid: process.signal for process in end_processes(running, grace=0.3)}
    assert ended == {gentle.pid: "TERM", stubborn.pid: "KILL", stopped.pid: "KILL"}
    statuses = [child.wait() for child in (gentle, stubborn, stopped)]
    assert statuses == [-signal.SIGTERM, -signal.SIGKILL, -signal.SIGKILL]
    assert find_processes_in(tmp_path) == []
    assert end_processes([]) == []


def test_uncollected_process_counts_as_ended(start, tmp_path):
    """A process whose parent never collects it counts as dead, so nothing waits for it."""
    parent = start(tmp_path.parent, sys.executable, "-c", CARELESS, str(tmp_path))
    parent.stdout.readline()
    running = find_processes_in(tmp_path)
    assert [process.signal for process in end_processes(running, grace=20)] == ["TERM"]
    assert running[0].handle.status() == psutil.STATUS_ZOMBIE
    assert find_processes_in(tmp_path) == []


def test_process_of_another_user_stops_the_ending(start, tmp_path):
    """A process of another user is named, and none of the others is ended."""
    root, nobody = os.geteuid() == 0, 65534
    mine = start(Path("/"), user=nobody if root else None)
    other = start(tmp_path).pid if root else 1
    running = [RunningProcess(pid, "sleep", tmp_path, psutil.Process(pid)) for pid in (mine.pid, other)]
    if root:
        os.setresuid(nobody, nobody, 0)
    try:
        with pytest.raises(WorktreeError, match=r"process \d+ \(`sleep` in .*\) may not be ended"):
            end_processes(running)
    finally:
        if root:
            os.setresuid(0, 0, 0)
    assert mine.poll() is None


def test_stop_ends_processes_without_a_record(start, repository):
    """`worktree.stop` works in a worktree that git created, and names the processes it would end and has ended."""
    there = repository.worktree("a")
    repository.git("worktree", "add", "--quiet", "-b", "a", there)
    server = start(there / "deep")
    row = f"sleep ({server.pid}) in {there / 'deep'}"
    assert repository.inv("-R", "worktree.stop", "a").stdout == f"would end {row}\n"
    assert server.poll() is None
    assert repository.inv("worktree.stop", there, cwd=there).stdout == f"ended {row} by TERM\n"
    assert server.wait() == -signal.SIGTERM


def test_stop_lists_ended_processes_as_json(start, repository):
    """`--json` lists each ended process; a second run has nothing to end."""
    there = repository.worktree("a")
    repository.git("worktree", "add", "--quiet", "-b", "a", there)
    server = start(there)
    ended = {"pid": server.pid, "name": "sleep", "cwd": str(there), "signal": "TERM"}
    assert repository.json("worktree.stop", "a") == [ended]
    assert repository.inv("worktree.stop", "a").stdout == f"nothing runs in {there}\n"


def test_stop_refuses_the_main_worktree(repository):
    """Processes in the main worktree are not this tool's to end."""
    assert "checked out in the main worktree" in repository.refuses("worktree.stop", "main")
