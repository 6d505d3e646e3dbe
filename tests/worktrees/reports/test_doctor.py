"""`doctor` finds what is wrong, and running the command that it names fixes it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time

import pytest

from tasks_lib.databases.server import connection
from tasks_lib.worktrees.reports import doctor


@pytest.fixture
def created(repository):
    """Give a repository with worktrees of branches `a` and `b`."""
    for branch in ("a", "b"):
        repository.json("worktree.create", branch)
    return repository


def find_problems(repository):
    """Run `doctor`, check its exit status, and return its warnings and problems by subject."""
    result = repository.inv("doctor", "--json")
    found = json.loads(result.stdout)["data"]
    assert result.returncode == any(finding["level"] == "problem" for finding in found)
    assert all(finding["cure"] for finding in found if finding["level"] != "ok")
    return {finding["subject"]: finding for finding in found if finding["level"] != "ok"}


def test_healthy_repository_has_no_problems(created):
    """Every subject is listed as ok, and so are migrations once the settings say that there are none."""
    assert find_problems(created).keys() == {"migrations"}
    result = created.inv("doctor", env={"WORKTREE_MIGRATE": "none"})
    assert "✓  migrations  none" in result.stdout
    assert result.returncode == 0
    for subject in ("git", "env file", "server", "golden", "a", "b"):
        assert f"✓  {subject}" in result.stdout


def test_named_commands_fix_the_problems(created):
    """A wrong env file, a worktree deleted by hand, one without a database."""
    env = created.worktree("a") / ".env"
    env.write_text(env.read_text().replace(created.env("a")["DATABASE_URL"], created.url))
    shutil.rmtree(created.worktree("b"))
    created.git("worktree", "add", "--quiet", created.worktree("plain"), "-b", "plain")
    found = find_problems(created)
    assert "DATABASE_URL" in found["a"]["text"]
    assert "is gone from" in found["b"]["text"]
    assert "has no database of its own" in found["plain"]["text"]
    for subject in ("a", "b", "plain"):
        cure = found[subject]["cure"].replace("inv ", f"{sys.executable} -m invoke ")
        done = subprocess.run(cure, shell=True, cwd=created.path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert find_problems(created).keys() <= {"migrations"}


@pytest.mark.parametrize(
    ("version", "level", "said"),
    [("2.31.8", "problem", "is older than 2.32"), ("master", "warning", "has no version number")],
)
def test_unsuitable_git_is_found(repository, monkeypatch, version, level, said):
    """A git that is too old, and one that does not say how old it is."""
    answer = doctor.read_git
    monkeypatch.setattr(
        doctor,
        "read_git",
        lambda *words, **at: f"git version {version}" if words == ("version",) else answer(*words, **at),
    )
    found = find_problems(repository)["git"]
    assert found["level"] == level
    assert said in found["text"]


def test_broken_worktrees_of_git_are_found(created):
    """Worktrees that point to the repository's previous path, and one whose HEAD is missing."""
    moved = created.path.with_name("moved")
    created.path.rename(moved)
    created.path = moved
    (moved / ".git/worktrees/app-b/HEAD").unlink()
    found = find_problems(created)
    for branch in ("a", "b"):
        assert "git worktree repair" in found[branch]["cure"]
        created.git("worktree", "repair", moved.with_name(f"app-{branch}"))
    found = find_problems(created)
    assert "a" not in found
    assert "git cannot work in" in found["b"]["text"]
    moved.with_name("app-b").rename(moved.with_name("away"))
    created.json("worktree.remove", "b_e9d71f", "--keep-branch")
    assert find_problems(created).keys() <= {"migrations"}


def test_unreachable_server_is_a_finding(created):
    """Every other check still runs; the password is not shown."""
    env = created.path / ".env"
    env.write_text(env.read_text().replace(created.url, "postgresql://ada:s3cret@127.0.0.1:1/x"))
    result = created.inv("doctor")
    assert result.returncode == 1
    assert "✓  git" in result.stdout
    assert "no PostgreSQL server answers at postgresql://ada:***@127.0.0.1:1" in result.stdout
    assert "s3cret" not in result.stdout + result.stderr


def test_a_server_that_does_not_answer_is_one_problem_within_the_limit(repository, monkeypatch):
    """The checks run at the same time; those that need no server have their findings, and a slow one is a problem."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", "2")
    monkeypatch.setattr(connection, "_silent", {})
    monkeypatch.setattr(doctor, "LIMIT_SECONDS", 2.6)
    monkeypatch.setattr(doctor, "_toolchain", lambda _: (time.sleep(5) for _ in "x"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = repository.path / ".env"
        env.write_text(f"DATABASE_URL=postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x\n")
        started = time.monotonic()
        found = find_problems(repository)
        assert time.monotonic() - started < 3.5
    assert found.keys() == {"server", "migrations"}
    assert "no PostgreSQL server answers" in found["server"]["text"]
    assert "took longer than 2.6 s" in found["migrations"]["text"]
