"""The doctor: what is wrong is found, and the cure that it names cures it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def created(repository):
    """Give a repository with worktrees of branches `a` and `b`."""
    for branch in ("a", "b"):
        repository.json("worktree.create", branch)
    return repository


def findings(repository):
    """Run `doctor`; return what is not well by subject, after holding it against the exit status."""
    result = repository.inv("doctor", "--json")
    found = json.loads(result.stdout)["data"]
    assert result.returncode == any(one["level"] == "problem" for one in found)
    assert all(one["cure"] for one in found if one["level"] != "ok")
    return {one["subject"]: one for one in found if one["level"] != "ok"}


def test_nothing_wrong(created):
    """Every subject is named, and nothing else is said; in text as well."""
    assert findings(created).keys() <= {"migrations"}
    result = created.inv("doctor")
    assert result.returncode == 0
    for subject in ("git", "env file", "server", "golden", "a", "b"):
        assert f"✓  {subject}" in result.stdout


def test_cures(created):
    """An env file that points elsewhere, a worktree deleted by hand, one without a database: each cure cures."""
    env = created.worktree("a") / ".env"
    env.write_text(env.read_text().replace(created.env("a")["DATABASE_URL"], created.url))
    shutil.rmtree(created.worktree("b"))
    created.git("worktree", "add", "--quiet", created.worktree("plain"), "-b", "plain")
    found = findings(created)
    assert "DATABASE_URL" in found["a"]["text"]
    assert "is gone from" in found["b"]["text"]
    assert "has no database of its own" in found["plain"]["text"]
    for subject in ("a", "b", "plain"):
        cure = found[subject]["cure"].replace("inv ", f"{sys.executable} -m invoke ")
        done = subprocess.run(cure, shell=True, cwd=created.path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert findings(created).keys() <= {"migrations"}


def test_what_git_cannot_work_in(created):
    """Worktrees that name the place where the repository was, and one whose HEAD is lost."""
    moved = created.path.with_name("moved")
    created.path.rename(moved)
    created.path = moved
    (moved / ".git/worktrees/app-b/HEAD").unlink()
    found = findings(created)
    for branch in ("a", "b"):
        assert "git worktree repair" in found[branch]["cure"]
        created.git("worktree", "repair", moved.with_name(f"app-{branch}"))
    found = findings(created)
    assert "a" not in found
    assert "git cannot work in" in found["b"]["text"]
    moved.with_name("app-b").rename(moved.with_name("away"))
    created.json("worktree.remove", "b_e9d71f", "--keep-branch")
    assert findings(created).keys() <= {"migrations"}


def test_a_server_that_is_down(created):
    """Every other check still says what it finds; the password is not told."""
    env = created.path / ".env"
    env.write_text(env.read_text().replace(created.url, "postgresql://ada:s3cret@127.0.0.1:1/x"))
    result = created.inv("doctor")
    assert result.returncode == 1
    assert "✓  git" in result.stdout
    assert "no PostgreSQL server answers at postgresql://ada:***@127.0.0.1:1" in result.stdout
    assert "s3cret" not in result.stdout + result.stderr
