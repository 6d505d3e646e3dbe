"""A task that only looks writes nothing and starts no server, also where nothing can be written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time

import pytest

from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.store import migrate
from tests.collections.test_dry_run import World, reading

WAITS = "agent.wait"
"""Follows other processes' commits, for which SQLite writes beside the ledger."""


@pytest.fixture
def world(repository, golden):
    return World(repository, golden)


@pytest.fixture
def read_only():
    """Give a function that makes a directory read-only until the end of the test."""
    mounted, opened = [], {}

    def close(directory):
        if os.geteuid() == 0:
            for options in (["--bind", directory], ["-o", "remount,bind,ro"]):
                done = subprocess.run(["mount", *options, directory], capture_output=True, check=False)
                if done.returncode:
                    pytest.skip("this container may not mount a directory read-only")
                mounted[:] = [directory]
            return
        for place in (directory, *directory.rglob("*")):
            if not place.is_symlink():
                opened[place] = place.stat().st_mode
        for place, mode in opened.items():
            place.chmod(mode & ~0o222)

    yield close
    for directory in mounted:
        subprocess.run(["umount", "--lazy", directory], check=True)
    for place, mode in opened.items():
        place.chmod(mode)


def files(*directories):
    """Return the content of every file in *directories*."""
    return {
        path: path.read_bytes() if path.is_file() else b""
        for directory in directories
        for path in directory.rglob("*")
        if path.name != "index"  # of git, whose own commands in the tests refresh it
    }


def settle(repository):
    """Wait for the cleanup in the background, which a creation starts."""
    deadline = time.monotonic() + 20
    repository.json("golden.tidy")
    before = files(repository.path / ".git")
    while time.monotonic() < deadline:
        time.sleep(0.3)
        now = files(repository.path / ".git")
        if now == before:
            return now
        before = now
    raise AssertionError("the repository does not come to rest")


def test_task_that_only_looks_leaves_every_file_alone(world, home):
    """Neither the git directory nor HOME changes, not even by a cache or a lock."""
    settle(world.repository)
    before = files(world.repository.path / ".git", home)
    for words in reading(world.rows):
        world.repository.inv(*words, cwd=world.there)
        after = files(world.repository.path / ".git", home)
        assert after.keys() == before.keys(), words
        assert [path for path in after if after[path] != before[path]] == [], words


def test_read_only_repository_can_be_looked_at(world, read_only):
    """Each such task says what it says otherwise; each other one refuses at once, and names the file."""
    settle(world.repository)
    tasks = [words for words in reading(world.rows) if words[0] != WAITS]
    before = {words: world.repository.inv(*words, cwd=world.there).returncode for words in tasks}
    read_only(world.repository.path / ".git")
    for words in tasks:
        found = world.repository.inv(*words, cwd=world.there)
        assert found.returncode == before[words], (words, found.stderr)
        assert "ead-only file system" not in found.stdout + found.stderr, words
    for words in (
        ("worktree.create", "b"),
        ("worktree.remove", "gone"),
        ("worktree.setup",),
        ("db.reset",),
        ("task.add", "x"),
        ("golden.refresh",),
        ("errand.start", "x"),
    ):
        refused = world.repository.inv(*words, cwd=world.there)
        assert refused.returncode == 1, words
        assert "error: " in refused.stderr
        assert "Traceback" not in refused.stderr
    assert len(world.repository.json("worktree.list")) == len(world.repository.records()) + 1


def test_ledger_in_a_read_only_directory_shows_its_latest_commits(repository, read_only, golden):
    """Also those that are only in the write-ahead log, because a process that writes has it open."""
    repository.json("task.add", "one")
    file = repository.path / ".git/goldentree/ledger.db"
    with sqlite3.connect(file) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE tasks SET name = 'two'")
        writer.commit()
        assert file.with_name("ledger.db-wal").stat().st_size > 0
        read_only(repository.path / ".git")
        assert [task["name"] for task in repository.json("task.list")] == ["two"]
    writer.close()


def test_ledger_that_does_not_exist_is_empty_and_stays_away(repository):
    """Looking creates no ledger."""
    assert repository.json("task.list") == []
    assert repository.json("ledger.status")["bytes"] == 0
    assert not (repository.path / ".git/goldentree/ledger.db").exists()


def test_ledger_of_an_earlier_version_is_shown_without_migrating_it(repository):
    """The file keeps its revision; what is shown is that of this version."""
    repository.json("task.add", "one")
    file = repository.path / ".git/goldentree/ledger.db"
    engine = Ledger.on_sqlite(file).engine
    migrate.downgrade(engine, migrate.REVISIONS[0])
    engine.dispose()
    before = file.read_bytes()
    assert [task["name"] for task in repository.json("task.list")] == ["one"]
    assert file.read_bytes() == before


def test_worktree_without_a_database_starts_no_server(repository, home):
    """Its env file names the database that `worktree.setup` makes later, on the server that this starts."""
    env = repository.path / ".env"
    lines = env.read_text().splitlines(keepends=True)
    env.write_text("".join(line for line in lines if "DATABASE_URL" not in line))
    created = repository.json("worktree.create", "a", "--no-db")
    assert repository.json("server.status")["running"] is False
    assert not (home / "goldentree/data").exists()
    url = repository.env("a")["DATABASE_URL"]
    assert url.endswith(created["database"])
    assert f"@127.0.0.1:{repository.json('server.start')['port']}/" in url


@pytest.mark.parametrize("task", ["doctor", "worktree.list", "worktree.status", "golden.status"])
def test_embedded_server_is_not_started_by_a_look(repository, home, task):
    """The task says that the server is not running, and how to start it."""
    env = repository.path / ".env"
    lines = env.read_text().splitlines(keepends=True)
    env.write_text("".join(line for line in lines if "DATABASE_URL" not in line))
    looked = repository.inv(task)
    assert not (home / "goldentree").exists()
    if task != "worktree.list":
        assert "the embedded server is not running" in looked.stdout + looked.stderr
        assert "inv server.start" in looked.stdout + looked.stderr
    assert "Traceback" not in looked.stderr
