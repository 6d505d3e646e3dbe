"""`worktree.gc` lists orphans with their reasons, and deletes them only with --yes."""

from __future__ import annotations

import json
import shutil

import psycopg
import pytest
from msgspec import structs

from tasks_lib.databases.ownership.comment import read_comment, set_comment
from tasks_lib.worktrees.registry import Registry


@pytest.fixture
def created(repository):
    """Give a repository with worktrees of branches `a` and `b`."""
    for branch in ("a", "b"):
        repository.json("worktree.create", branch)
    return repository


def collect(repository, *options, **more):
    """Run `worktree.gc` and return its rows by kind and name."""
    return {(row["kind"], row["name"]): row for row in repository.json("worktree.gc", *options, **more)}


def test_used_worktrees_are_not_orphans(created):
    """Nothing that is in use is listed, and a recent removal can still be undone."""
    created.json("worktree.remove", "b")
    assert created.json("worktree.gc", "--yes") == []
    assert created.inv("worktree.gc").stdout == "nothing to delete\n"
    created.json("worktree.undo", "b")


def test_files_that_outlast_an_undo_are_still_known(created, monkeypatch):
    """What a removal and its undo could not delete is listed, and deleted later with the record."""
    with monkeypatch.context() as patch:
        for module in ("remove", "undo"):
            patch.setattr(f"tasks_lib.worktrees.plans.{module}.delete_tree", lambda _: None)
        created.json("worktree.remove", "a")
        assert "could not be deleted and stay in" in created.inv("worktree.undo", "a").stderr
    assert "nothing to undo" in created.refuses("worktree.undo")
    trash = next(created.path.parent.glob(".goldentree-*"))
    assert collect(created, "--yes")["files", str(trash)]["outcome"] == "deleted"
    assert not trash.exists()
    assert collect(created) == {}
    assert list((created.path / ".git/goldentree/removed").iterdir()) == []


def test_worktree_deleted_by_hand_is_removed(created):
    """Its databases are parked, its branch stays, and undo restores it; a locked one stays."""
    shutil.rmtree(created.worktree("a"))
    rows = collect(created)
    assert rows["worktree", "a"]["outcome"] == "candidate"
    assert "was deleted" in rows["worktree", "a"]["reason"]
    assert len(created.databases()) == 2
    created.git("worktree", "lock", created.worktree("a"))
    assert collect(created, "--yes")["worktree", "a"]["outcome"] == "kept"
    created.git("worktree", "unlock", created.worktree("a"))
    assert collect(created, "--yes")["worktree", "a"]["outcome"] == "parked"
    assert [row["branch"] for row in created.json("worktree.list")] == ["main", "b"]
    assert len(created.databases()) == 1
    created.git("rev-parse", "--verify", "a")
    assert created.json("worktree.undo", "a")["database"] in created.databases()


def test_worktree_on_an_unmounted_volume_stays(created):
    """Its parent directory is gone, or empty like a mount point. So does a branch named like its slug."""
    created.json("worktree.create", "c", "--path", created.path.parent / "stick" / "c")
    (created.path.parent / "stick").rename(created.path.parent / "away")
    assert "not mounted" in collect(created, "--yes")["worktree", "c"]["reason"]
    (created.path.parent / "stick").mkdir()
    assert "not mounted" in collect(created, "--yes")["worktree", "c"]["reason"]
    shutil.rmtree(created.worktree("a"))
    created.git("worktree", "add", "--quiet", created.worktree("plain"), "-b", "a_86f7e4")
    assert collect(created, "--yes")["worktree", "a"]["outcome"] == "kept"
    assert created.worktree("plain").exists()
    assert len(created.databases()) == 3


def test_database_parked_long_ago_is_dropped(created):
    """After WORKTREE_KEEP_REMOVED, the database and the removal record are deleted."""
    created.json("worktree.remove", "a")
    env = {"WORKTREE_KEEP_REMOVED": "0s"}
    (name,) = created.databases(parked=True)
    previewed = created.inv("worktree.gc", env=env)
    assert name in previewed.stdout
    assert "nothing was changed; inv worktree.gc --yes" in previewed.stdout
    rows = collect(created, "--yes", env=env)
    assert rows["parked", name]["outcome"] == "dropped"
    assert rows["parked", name]["bytes"] > 1_000_000
    assert rows["note", "a"]["outcome"] == "forgotten"
    assert created.databases(parked=True) == []
    assert created.git("for-each-ref", "refs/goldentree") == ""
    assert "no removal of `a` was found" in created.refuses("worktree.undo", "a")


def test_old_clone_without_a_record_is_dropped(created):
    """A clone that no record claims is dropped when it is old and has no sessions."""
    record = created.path / ".git/goldentree/worktrees/a_86f7e4.json"
    data = json.loads(record.read_text())
    database = data["identity"]["database"]
    shutil.rmtree(created.worktree("a"))
    created.git("worktree", "prune")
    record.unlink()
    assert ("clone", database) not in collect(created, "--yes") or database in created.databases()
    with psycopg.connect(created.url, dbname="postgres", autocommit=True) as connection:
        old = structs.replace(read_comment(connection, database), created_at="2020-01-01T00:00:00+00:00")
        set_comment(connection, Registry(created.path / ".git").signer, database, old)
    with psycopg.connect(created.url, dbname=database):
        row = collect(created, "--yes")["clone", database]
        assert row["outcome"] == "kept"
        assert "connected" in row["reason"]
    assert collect(created, "--yes")["clone", database]["outcome"] == "dropped"
    assert len(created.databases()) == 1


def test_unreadable_lists_stop_the_collection(created):
    """With a corrupt record, or without a server, nothing is collected."""
    shutil.rmtree(created.worktree("b"))
    assert "answers" in created.refuses(
        "worktree.gc", "--yes", env={"DATABASE_URL": "postgresql://ada:s3cret@127.0.0.1:1/x"}
    )
    record = created.path / ".git/goldentree/worktrees/a_86f7e4.json"
    record.write_text("{")
    result = created.inv("worktree.gc", "--yes")
    assert result.returncode == 1
    assert "cannot be read" in result.stderr
    assert len(created.databases()) == 2
