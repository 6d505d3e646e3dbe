"""Eight processes create and remove worktrees and are killed at random: nothing is lost, and nothing is left."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WORKERS = 8


class Worker:
    """Creates and removes the worktree of one branch again and again; some of its commands are killed."""

    def __init__(self, repository, number, deadline):
        self.repository = repository
        self.branch = f"w{number}"
        self.there = repository.worktree(self.branch)
        self.deadline = deadline
        self.random = random.Random(number)
        self.commits = []
        self.outcomes = Counter()

    def run(self):
        while time.monotonic() < self.deadline:
            self.act("worktree.create", self.branch)
            if self.there.is_dir() and self.random.random() < 0.5:
                self.work()
            self.act("worktree.remove", self.branch, *self.random.choice([["--keep-branch"], ["--force"]]))
        return self

    def act(self, *command):
        """Run the command, and sometimes kill it; if it fails, it must not print a traceback."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks_lib", *command],
            cwd=self.repository.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self.random.random() < 0.35:
            time.sleep(self.random.uniform(0.1, 1.5))
            process.send_signal(signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        assert "Traceback" not in said, said
        self.outcomes[command[0], process.returncode] += 1

    def work(self):
        """Make a commit that exists on this branch only; it may fail while the worktree is being removed."""
        committed = subprocess.run(
            ["git", "commit", "--quiet", "--allow-empty", "-m", f"{self.branch} {len(self.commits)}"],
            cwd=self.there,
            capture_output=True,
            check=False,
        )
        if committed.returncode == 0:
            self.commits.append(self.repository.git("rev-parse", "HEAD", cwd=self.there))


def test_killed_commands_lose_nothing(repository, request):
    """Every worktree is whole or gone, no port is held twice, no database is orphaned, no commit is lost."""
    deadline = time.monotonic() + request.config.getoption("--stress")
    with ThreadPoolExecutor(WORKERS) as pool:
        workers = list(pool.map(Worker.run, [Worker(repository, number, deadline) for number in range(WORKERS)]))

    outcomes = sum((worker.outcomes for worker in workers), Counter())
    print(dict(outcomes))
    assert outcomes["worktree.create", 0]
    assert outcomes["worktree.create", -signal.SIGKILL] + outcomes["worktree.remove", -signal.SIGKILL]

    # The doctor's commands finish what was interrupted.
    for _ in range(3):
        findings = [finding for finding in diagnose(repository) if finding["subject"] != "migrations"]
        cures = {finding["cure"] for finding in findings if finding["level"] != "ok"}
        for cure in cures:
            command = cure.replace("inv ", f"{sys.executable} -m tasks_lib ")
            subprocess.run(command, shell=True, cwd=repository.path, check=False, capture_output=True)
    assert [finding for finding in diagnose(repository) if finding["level"] == "problem"] == []

    rows = [row for row in repository.json("worktree.list") if row["state"] != "main"]
    assert {row["state"] for row in rows} <= {"ready"}
    ports = [row["port"] for row in rows]
    assert len(ports) == len(set(ports))
    assert sorted(row["number"] for row in rows) == sorted({row["number"] for row in rows} - {0})
    assert sorted(row["database"] for row in rows) == repository.databases()
    for row in rows:
        assert repository.git("status", "--porcelain", cwd=row["path"]) == ""
        assert repository.json("db.status", cwd=row["path"])["database"] == row["database"]
    assert sorted(path.name for path in repository.path.parent.iterdir()) == sorted(
        [repository.path.name, *(Path(row["path"]).name for row in rows)]
    )
    for worker in workers:
        for commit in worker.commits:
            assert repository.git("for-each-ref", "--contains", commit), f"{worker.branch} lost {commit}"


def diagnose(repository):
    """Return the findings of `doctor`."""
    return json.loads(repository.inv("doctor", "--json").stdout)["data"]
