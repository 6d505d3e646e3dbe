"""Undoing: what a removal took away comes back, with its rows and its uncommitted work."""

from __future__ import annotations

import pytest


@pytest.fixture
def created(repository):
    """Give a repository with a worktree of branch `a`, which has a row, a commit and uncommitted work of its own."""
    repository.json("worktree.create", "a")
    repository.there = repository.worktree("a")
    (repository.there / "kept").write_text("committed\n")
    repository.commit("Precious", cwd=repository.there)
    (repository.there / "kept").write_text("changed\n")
    (repository.there / "new file").write_text("untracked\n")
    repository.database = repository.databases()[0]
    repository.sql("CREATE TABLE mine AS SELECT 42 AS answer", repository.database)
    return repository


def whole(repository):
    """Assert that the worktree is as the fixture left it."""
    there = repository.there
    assert repository.git("status", "--porcelain", cwd=there).splitlines() == ["M kept", '?? "new file"']
    assert repository.git("log", "-1", "--format=%s %D", cwd=there) == "Precious HEAD -> a"
    assert (there / "kept").read_text() == "changed\n"
    assert repository.databases() == [repository.database]
    assert repository.sql("SELECT answer FROM mine", repository.database) == [(42,)]
    assert repository.env("a")["DATABASE_URL"].endswith(f"/{repository.database}")
    assert [record["state"] for record in repository.records().values()] == ["ready"]
    assert repository.git("for-each-ref", "refs/goldentree") == ""
    assert repository.databases(parked=True) == []


def test_all_of_it_comes_back(created):
    """Worktree, branch, commits, uncommitted work, rows, env file and port; the same names as before."""
    before = created.env("a")
    listed = created.json("worktree.list")[1]
    removed = created.json("worktree.remove", "a", "--force")
    assert removed["saved"] not in (None, removed["commit"])
    assert not created.there.exists()
    assert created.git("branch", "--list", "a") == ""
    previewed = created.inv("-R", "worktree.undo")
    assert "would restore its uncommitted work" in previewed.stdout
    assert not created.there.exists()
    back = created.json("worktree.undo")
    assert {key: back[key] for key in ("branch", "slug", "path", "database", "port", "dev_url")} == {
        key: listed[key] for key in ("branch", "slug", "path", "database", "port", "dev_url")
    }
    assert created.env("a") == before
    whole(created)
    assert "there is no removal to undo" in created.refuses("worktree.undo")


def test_killed_after_every_step(created):
    """A removal, and an undoing, that were killed anywhere are finished by running them again."""
    step, function = 0, "tasks_lib.steps:Plan._run_step"
    for command in ("worktree.remove", "worktree.undo"):
        options = ["--force"] if command == "worktree.remove" else []
        step = 0
        while True:
            step += 1
            if not created.dies("after", step, function, command, "a", *options):
                break
            again = created.inv(command, "a", *options)
            if command == "worktree.remove":
                if again.returncode:  # its record went with the last step
                    assert "there is no worktree of `a`" in again.stderr
                assert not created.there.exists()
                assert created.records() == {}
                assert created.json("worktree.undo", "a")
                whole(created)
            else:
                if again.returncode:  # its note went with the last step
                    assert "no removal of `a` is known" in again.stderr
                whole(created)
                created.json("worktree.remove", "a", "--force")
        assert step > 4
