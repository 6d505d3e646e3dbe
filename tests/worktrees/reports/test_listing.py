"""`worktree.list` reports the state of each worktree in git and on the server."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from tasks_lib.git import status
from tasks_lib.git.repository import Repository, list_worktrees
from tasks_lib.git.status import read_states


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Give a function that runs git in a repository with a commit."""
    path = tmp_path / "code"
    path.mkdir()

    def git(*arguments, cwd=path):
        return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    commit(git, path, "start")
    monkeypatch.chdir(path)
    return git


def commit(git, where, name, text="x\n"):
    (where / name).write_text(text)
    git("add", "--all", cwd=where)
    git("commit", "--quiet", "--message", name, cwd=where)


def test_git_states_of_worktrees(code, tmp_path):
    """Clean, dirty, ahead, behind; merged by a merge commit or a squash, but never without any commits."""
    places = {}
    for name in ("new", "work", "merged", "squashed", "a=b"):
        places[name] = tmp_path / name
        code("worktree", "add", "--quiet", "-b", name, str(places[name]))
    for name in ("work", "merged", "squashed"):
        commit(code, places[name], name)
    code("merge", "--quiet", "--no-ff", "--no-edit", "merged")
    code("merge", "--quiet", "--squash", "squashed")
    code("commit", "--quiet", "--message", "squashed")
    places["detached"] = tmp_path / "detached"
    code("worktree", "add", "--quiet", "--detach", str(places["detached"]))
    (places["work"] / "ö\n").write_text("untracked")
    code("mv", "start", "moved", cwd=places["work"])
    commit(code, places["a=b"], "b")
    code("branch", "--quiet", "--set-upstream-to=main", "a=b")

    repository = Repository.find(Path.cwd())
    listed = list_worktrees(repository.main)
    names = [row.branch or "detached" for row in listed]
    found = dict(zip(names, read_states(repository, listed), strict=True))

    assert {name: state.text for name, state in found.items()} == {
        "main": "clean",
        "new": "clean, behind 3",
        "work": "dirty, ahead 1, behind 3",
        "merged": "clean, merged",
        "squashed": "clean, merged",
        "a=b": "clean, ahead 1, behind 3",
        "detached": "clean",
    }
    assert found["work"].dirty == 2
    assert (found["merged"].merged, found["new"].merged) == ("ancestor", None)
    assert found["squashed"].merged in ("nothing to add", "patch")
    assert found["a=b"].upstream == status.Upstream("main", 1, 3)
    for name, state in found.items():
        counted = code("rev-list", "--left-right", "--count", f"{state.head}...main").split()
        assert [state.ahead, state.behind] == [*map(int, counted)], name


def test_orphan_branch_does_not_hide_the_others(code, tmp_path):
    """Neither does a branch without a commit."""
    code("worktree", "add", "--quiet", "--detach", str(tmp_path / "orphan"))
    code("switch", "--quiet", "--orphan", "other", cwd=tmp_path / "orphan")
    repository = Repository.find(Path.cwd())

    assert [state.text for state in read_states(repository, list_worktrees(repository.main))] == ["clean", "clean"]
    commit(code, tmp_path / "orphan", "other")
    assert [state.text for state in read_states(repository, list_worktrees(repository.main))] == [
        "clean",
        "clean, ahead 1, behind 1",
    ]


def test_fetched_default_branch_counts(code, tmp_path):
    """The fetched branch counts if the local default branch lags behind it."""
    code("worktree", "add", "--quiet", "-b", "a", str(tmp_path / "a"))
    commit(code, tmp_path / "a", "a")
    code("remote", "add", "origin", ".")
    code("update-ref", "refs/remotes/origin/main", code("commit-tree", "-p", "main", "-p", "a", "-m", "m", "a^{tree}"))
    repository = Repository.find(Path.cwd())

    assert [state.text for state in read_states(repository, list_worktrees(repository.main))] == [
        "clean, behind 2",
        "clean, merged",
    ]


def test_list_shows_unknown_values_with_reasons(repository):
    """An unknown value is `?` with a reason, and does not affect other rows."""
    created = repository.json("worktree.create", "a")
    there = Path(created["path"])
    repository.json("worktree.create", "b")
    (there / "new").write_text("x")
    listener = socket.create_server(("127.0.0.1", created["port"]))
    with closing(listener), psycopg.connect(repository.url, dbname=created["database"]):
        main, a, b = repository.json("worktree.list", cwd=there)

    assert (main["state"], main["current"], main["database"], main["drift"]) == ("main", False, None, None)
    assert (a["current"], a["dirty"], a["ahead"], a["behind"], a["merged"]) == (True, 1, 0, 0, None)
    assert (a["listening"], a["sessions"], b["listening"], b["sessions"]) == (True, 1, False, 0)
    assert a["head"] == repository.git("rev-parse", "a")
    assert a["bytes"] > 1_000_000
    assert a["drift"] == {"applied": None, "pending": None, "missing": None, "golden_changed": False}
    assert 0 <= a["age_seconds"] < 100
    assert (a["companions"], a["locked"], a["upstream"]) == ([], None, None)

    (there / ".git").write_text("gitdir: /nowhere\n")
    repository.sql(f'DROP DATABASE "{b["database"]}"')
    listed = repository.inv("worktree.list")
    cells = [re.split(r"  +", line) for line in listed.stdout.splitlines()[2:]]
    assert [(row[2], row[4] == "?") for row in cells] == [("?", False), ("clean", True)]
    assert "warning: a: not a git repository" in listed.stderr.replace("fatal: ", "")
    assert f"warning: b: this worktree has no database `{b['database']}`" in listed.stderr

    shutil.rmtree(there)
    down = {"DATABASE_URL": "postgresql://ada:s3cret@127.0.0.1:1/x"}
    listed = repository.inv("worktree.list", env=down)
    assert listed.returncode == 0
    assert re.findall(r"^(?:a|b) .*", listed.stdout, re.MULTILINE)[0].split()[1:3] == ["gone", "-"]
    assert listed.stderr == "warning: no PostgreSQL server answers at postgresql://ada:***@127.0.0.1:1/x\n"


def test_list_does_not_start_the_server(repository, home):
    """A listing starts nothing."""
    repository.json("worktree.create", "a")
    repository.json("golden.tidy")  # which waits for the one that creating has begun
    env = repository.path / ".env"
    env.write_text(re.sub("DATABASE_URL=.*\n", "", env.read_text()))
    listed = repository.inv("worktree.list")
    assert listed.returncode == 0
    assert listed.stderr == "warning: the embedded server is not running\n"
    assert not (home / "goldentree").exists()
    told = repository.inv("worktree.status", "--branch", "a")
    assert told.returncode == 1
    assert "inv server.start" in told.stdout
    assert not (home / "goldentree").exists()


@pytest.mark.parametrize(("columns", "headings"), [(200, 9), (50, 4)])
def test_narrow_terminal_drops_columns(repository, columns, headings):
    """The least important columns are left out; no line is wrapped."""
    repository.git("worktree", "add", "--quiet", "-b", "a-branch-with-a-name", repository.worktree("a"))
    main, other = pty.openpty()
    with closing(os.fdopen(main, "rb", buffering=0)):
        subprocess.run(
            [sys.executable, "-m", "invoke", "worktree.list"],
            cwd=repository.path,
            env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=other,
            check=True,
        )
        os.close(other)
        drawn = os.read(main, 10_000).decode()
    drawn = drawn.rpartition("\x1b[2K")[2]  # the table that replaces the others
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in drawn.splitlines()]
    assert len(lines) == 3
    assert max(map(len, lines)) <= columns
    assert len(lines[0].split()) == headings
    assert lines[0].split()[:3] == ["BRANCH", "STATE", "GIT"]
    assert ("../app-a" in lines[2]) == (headings == 9)


@pytest.fixture
def slow_worktree(repository, tmp_path):
    """Create worktrees a and b; a hook of `git status` in b notes its pid and waits for the returned file."""
    gate = tmp_path / "gate"
    hook = tmp_path / "monitor"
    hook.write_text(
        f"#!/bin/sh\ncase $PWD in */app-b) echo $$ > {gate}.pid; until [ -e {gate} ]; do sleep 0.05; done;; esac\n"
        "printf '/\\0'\n"
    )
    hook.chmod(0o755)
    for name in ("a", "b"):
        repository.git("worktree", "add", "--quiet", "-b", name, repository.worktree(name))
    repository.git("config", "core.fsmonitor", hook)
    yield gate
    gate.touch()


def wait_for_output(terminal, pattern):
    """Read from *terminal* until what has been drawn matches *pattern*, and return that."""
    drawn = ""
    while not re.search(pattern, drawn, re.DOTALL):
        output = os.read(terminal, 10_000)
        assert output, drawn
        drawn += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.decode())
    return drawn


def list_in_terminal(repository, lines):
    """Start `worktree.list` in a terminal of that many *lines*, and return the process and the terminal."""
    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", "worktree.list"],
        cwd=repository.path,
        env={**os.environ, "COLUMNS": "120", "LINES": str(lines), "TERM": "xterm", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=other,
    )
    os.close(other)
    return process, terminal


def test_terminal_shows_each_state_when_it_is_known(repository, slow_worktree):
    """The names come first, then the states that are known; the slow one replaces its `…` at the end."""
    process, terminal = list_in_terminal(repository, lines=30)
    with process:
        wait_for_output(
            terminal, r"BRANCH +STATE +GIT .*main +main +clean .*\na +unmanaged +clean .*\nb +unmanaged +… "
        )
        slow_worktree.touch()
        final = wait_for_output(terminal, r"BRANCH(?!.*BRANCH).*\nb +unmanaged +clean .*/app-b\r?\n")
    os.close(terminal)
    assert process.returncode == 0
    assert "…" not in final.rpartition("BRANCH")[2]


def test_short_terminal_shows_all_names_at_once(repository, slow_worktree):
    """Lines that scroll away cannot be changed, so they are printed once, and the whole table at the end."""
    process, terminal = list_in_terminal(repository, lines=3)
    with process:
        drawn = wait_for_output(terminal, r"BRANCH .*\nmain .*\na +unmanaged +clean .*\nb +unmanaged +… ")
        assert drawn.count("BRANCH") == 1
        slow_worktree.touch()
        wait_for_output(terminal, r"BRANCH .*\na +unmanaged +clean .*\nb +unmanaged +clean ")
    os.close(terminal)
    assert process.returncode == 0


def test_git_status_that_takes_too_long_is_unknown(repository, slow_worktree, monkeypatch):
    """Its state is `?`, the other worktrees are not affected, and git is ended with its hook."""
    monkeypatch.setattr(status, "STATUS_SECONDS", 4.0)
    listed = repository.inv("worktree.list")
    assert listed.returncode == 0
    cells = [re.split(r"  +", line)[:3] for line in listed.stdout.splitlines()[1:]]
    assert cells == [["main", "main", "clean"], ["a", "unmanaged", "clean"], ["b", "unmanaged", "?"]]
    assert "warning: b: git status took longer than 4 s\n" in listed.stderr
    hook = int(Path(f"{slow_worktree}.pid").read_text())
    # A container may have nothing that collects it.
    assert not psutil.pid_exists(hook) or psutil.Process(hook).status() == psutil.STATUS_ZOMBIE


def test_quick_list_does_not_ask_git_for_states(repository, slow_worktree):
    """It answers although git status would wait; unknown states are `-`, and null in JSON."""
    main, _, b = repository.json("worktree.list", "--quick")
    assert (main["branch"], b["branch"], b["head"]) == ("main", "b", repository.git("rev-parse", "b"))
    assert [b[key] for key in ("dirty", "ahead", "behind", "merged", "upstream")] == [None] * 5
    listed = repository.inv("worktree.list", "--quick")
    assert [re.split(r"  +", line)[2] for line in listed.stdout.splitlines()] == ["GIT", "-", "-", "-"]
    assert not Path(f"{slow_worktree}.pid").exists()


def test_rows_have_equal_json_keys(repository):
    """The same keys in every row, in the same order."""
    repository.git("worktree", "add", "--quiet", "--detach", repository.worktree("a"))
    rows = json.loads(repository.inv("worktree.list", "--json").stdout)["data"]
    assert [list(row) for row in rows] == [list(rows[0])] * 2
