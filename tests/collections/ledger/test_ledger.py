"""The ledger as a whole: how it is, its backups and its board, through `inv`."""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from invoke.context import Context

from tasks_lib.collections._project import current_project
from tasks_lib.collections.ledger import ledger as tasks
from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import LedgerError
from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.maintenance.backup import back_up
from tasks_lib.ledger.maintenance.health import check_health
from tasks_lib.ledger.work import queue
from tasks_lib.workflows.ledger_access import ledger_of
from tests import inprocess


def fill(ledger):
    """Put agents, tasks and a question into a ledger; one agent's process has ended, another is stopped."""
    dead = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    from tasks_lib.ledger.agents.liveness import process

    was = process(dead.pid)
    dead.communicate()
    with ledger.write() as tx:
        lost, stopped, asked = (tx.agents.create(name=name, worktree_id="r/main") for name in ("lost", "left", "asked"))
        for agent in (lost, stopped):
            task = tx.tasks.create(name=f"of {agent.name}", summary="secret plans")
            queue.claim(tx, task.id, agent.id)
        tx.agents.update(lost.id, pid=was.pid, host=was.host, pid_started_at=was.pid_started_at)
        tx.agents.update(stopped.id, status="stopped")
        tx.tasks.create(name="free")
        tx.conversations.create(from_agent_id=lost.id, to_agent_id=asked.id, question="Why?")
    ledger.engine.dispose()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a repository without any server, whose ledger holds something."""
    path = tmp_path / "app"
    path.mkdir()
    monkeypatch.chdir(path)
    for command in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message=Start"]):
        subprocess.run(["git", *command], check=True)
    (path / "tasks.py").write_text("from tasks_lib import ns\n")
    fill(ledger_of(current_project()))
    return path


@pytest.fixture
def postgres_url(servers):
    """Give the URL of an empty database, which is dropped afterwards."""
    url, name = DatabaseUrl.parse(servers(binaries.find_server_programs())), f"ledger_{secrets.token_hex(4)}"
    with psycopg.connect(url.text, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield url.with_database(name).text
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def full(count):
    """Let no file grow beyond *count* bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run(*arguments):
    """Run `inv` and return its status, stdout and stderr."""
    done = inprocess.inv(Path.cwd(), {}, *arguments)
    return done.returncode, done.stdout, done.stderr


def test_status_tells_how_it_is(here):
    """Prints location, size, SQLite version, queue, lost agents, and tasks without a live holder."""
    status, said, _ = run("ledger.status")
    assert status == 0
    for part in (
        f"ledger     {here}/.git/goldentree/ledger.db  (",
        "revision 0002)",
        f"SQLite {sqlite3.sqlite_version}, journal mode wal",
        "1 ready, 2 in progress",
        "1 idle, 1 running, 1 stopped",
        "lost     lost  (its process has ended)",
        "1 open",
        "of lost  (held by lost; the next claim releases it)",
        "of left  (held by no agent; the next claim releases it)",
    ):
        assert part in said
    data = tasks.status(Context())
    assert data["lost"] == ["lost"]
    assert sorted(row["holder"] or "" for row in data["stale"]) == ["", "lost"]
    assert check_health(ledger_of(current_project()), (3, 51, 3)).warnings == []
    [warning] = check_health(ledger_of(current_project()), (3, 51, 2)).warnings
    assert "SQLite 3.51.2 has the WAL-reset bug" in warning
    assert "inv ledger.backup" in warning


def test_a_damaged_ledger_is_told_with_its_cure(here):
    """Rows that refer to nothing, damaged pages, no database at all: status 1, and what to do; nothing is copied."""
    file = here / ".git/goldentree/ledger.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE tasks SET phase_id = 'nowhere' WHERE name = 'free'")
    status, said, why = run("ledger.status")
    assert (status, said) == (1, "")
    assert "1 of `tasks` refer to no row of `phases`" in why
    assert "copy the latest backup there" in why
    with pytest.raises(LedgerError, match="refer to no row"):
        tasks.backup(Context(), "copy.db")

    Path(f"{file}-wal").unlink(missing_ok=True)
    pages = bytearray(file.read_bytes())
    for start in range(3 * 4096, len(pages), 4096):
        pages[start : start + 200] = b"\xff" * 200
    file.write_bytes(pages)
    for damage in ("malformed", "not a database"):
        with pytest.raises(LedgerError, match=damage) as caught:
            tasks.status(Context())
        assert "copy the latest backup there" in caught.value.hint
        file.write_bytes(os.urandom(9000))
    assert {path.name for path in here.iterdir()} == {".git", "tasks.py"}


def test_a_backup_is_a_ledger(here, tmp_path):
    """It has all rows, and only its owner can read it; it is never put over a file, and what fails leaves nothing."""
    status, said, _ = run("ledger.backup")
    path = Path(said.split()[1])
    assert (status, path.parent) == (0, here / ".git/goldentree")
    assert path.stat().st_mode & 0o777 == 0o600
    copy = Ledger.on_sqlite(path)
    with copy.read() as tx:
        assert [task.name for task in tx.tasks.find_all()] == ["of lost", "of left", "free"]
    copy.engine.dispose()

    before = path.read_bytes()
    folder = tmp_path / "new"
    for target, why in ((path, "exists already"), (folder / "x.db", "cannot be written: No such file")):
        with pytest.raises(LedgerError, match=why):
            tasks.backup(Context(), str(target))
    assert path.read_bytes() == before
    folder.mkdir()
    assert "would copy the ledger" in run("-R", "ledger.backup", str(folder / "x.db"))[1]
    with full(100_000), pytest.raises(LedgerError, match="the ledger cannot be copied to"):
        tasks.backup(Context(), str(folder / "x.db"))
    assert list(folder.iterdir()) == []
    assert tasks.backup(Context(), str(folder / "x.db"))["path"] == folder / "x.db"


def test_a_ledger_on_postgres(here, postgres_url, monkeypatch, tmp_path):
    """The same commands; the backup is a dump that pg_restore brings back, and the password is printed nowhere."""
    monkeypatch.setenv("LEDGER_URL", postgres_url)
    url = DatabaseUrl.parse(postgres_url)
    ledger = ledger_of(current_project())
    fill(ledger)
    told = [run("ledger.status", "--json"), run("ledger.backup", str(tmp_path / "x.dump"))]
    assert [status for status, *_ in told] == [0, 0]
    assert not any(url.parameters["password"] in text for _, *texts in told for text in texts)
    data = json.loads(told[0][1])["data"]
    assert (data["engine"].split()[0], data["journal_mode"], data["warnings"]) == ("PostgreSQL", None, [])
    assert (data["bytes"] > 100_000, data["lost"], data["where"]) == (True, ["lost"], url.masked)
    assert (tmp_path / "x.dump").stat().st_mode & 0o777 == 0o600
    with full(4096), pytest.raises(LedgerError, match="the ledger cannot be copied to"):
        back_up(ledger, tmp_path / "y.dump", url)
    ledger.engine.dispose()
    assert not list(tmp_path.glob("y.dump*"))

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA goldentree CASCADE")
    restore = binaries.find_server_programs().program("pg_restore")
    subprocess.run([restore, "--dbname", postgres_url, tmp_path / "x.dump"], check=True)
    with ledger.read() as tx:
        assert [task.name for task in queue.ready(tx)] == ["free"]
    ledger.engine.dispose()


def test_the_board_knows_the_worktrees(repository, monkeypatch):
    """Agents stand there with their branch, path and database; the path of the page is the answer."""
    created = repository.json("worktree.create", "feat/x")
    there = repository.worktree("feat/x")
    repository.json("agent.register", "amber-fox", cwd=there)
    repository.json("agent.register", "brave-owl")
    result = repository.inv("ledger.board", cwd=there)
    path = repository.path / ".git/goldentree/ledger-board.html"
    assert (result.returncode, result.stdout) == (0, f"{path}\n")
    rows = re.findall(r"<tr><th scope=\"row\"><bdi>(.*?)</bdi></th>(.*?)</tr>", path.read_text())
    told = {name: re.findall(r"<code>(.*?)</code>", cells) for name, cells in rows}
    assert told == {
        "amber-fox": ["feat/x", str(there), created["database"]],
        "brave-owl": ["main", str(repository.path)],
    }
    monkeypatch.chdir(repository.path)
    answer = tasks.board(Context(), out="here.html", open=True)
    assert answer["path"] == repository.path / "here.html"
    assert (answer["counts"]["agents"], answer["counts"]["initiatives"]) == (2, 0)
    with pytest.raises(LedgerError, match="is not a board"):
        tasks.board(Context(), out="tasks.py")
