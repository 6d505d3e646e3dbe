"""`worktree.teardown` parks the databases before another program deletes the worktree."""

from __future__ import annotations

import pytest


@pytest.fixture
def created(repository):
    """Give a repository with a worktree of branch `a` that has a row and uncommitted work."""
    repository.json("worktree.create", "a")
    repository.there = repository.worktree("a")
    (repository.there / "new").write_text("untracked\n")
    repository.database = repository.databases()[0]
    repository.sql("CREATE TABLE mine AS SELECT 42 AS answer", repository.database)
    return repository


def assert_whole(repository):
    """Assert that the worktree has everything that the fixture gave it."""
    assert (repository.there / "new").read_text() == "untracked\n"
    assert repository.databases() == [repository.database]
    assert repository.sql("SELECT answer FROM mine", repository.database) == [(42,)]
    assert repository.json("worktree.list")[1]["state"] == "ready"


def test_teardown_can_be_undone(created):
    """While the worktree exists, after another program removed it, and after it was created again."""
    for made_again in (None, False, True):
        assert created.json("worktree.teardown", cwd=created.there)["databases"] == "parked"
        assert created.databases() == []
        assert created.records() == {}
        assert (created.there / "new").exists()
        assert "has no databases" in created.inv("worktree.teardown", cwd=created.there).stdout
        if made_again is not None:
            created.git("worktree", "remove", "--force", created.there)
        if made_again:
            created.git("worktree", "add", "--quiet", created.there, "a")
            created.json("worktree.setup", cwd=created.there)
        created.json("worktree.undo", "a")
        assert_whole(created)


def test_teardown_without_a_server_succeeds(created):
    """`worktree.gc` parks the databases later, and undo restores everything."""
    env = created.path / ".env"
    text = env.read_text()
    env.write_text(text.replace(created.url, "postgresql://ada:s3cret@127.0.0.1:1/x"))
    result = created.inv("worktree.teardown", cwd=created.there)
    assert result.returncode == 0
    assert "s3cret" not in result.stdout + result.stderr
    env.write_text(text)
    assert created.json("worktree.gc", "--yes")[0]["outcome"] == "parked"
    assert created.databases() == []
    created.json("worktree.undo")
    assert_whole(created)


def test_killed_teardown_is_finished(created):
    """By a second run, or by a removal, which knows the parked databases."""
    for finish in (["worktree.teardown"], ["worktree.remove", "a", "--force"]):
        assert created.dies("after", 3, "tasks_lib.plan:Plan._run_step", "worktree.teardown", cwd=created.there)
        created.json(*finish, cwd=created.there if finish == ["worktree.teardown"] else None)
        assert len(created.databases(parked=True)) == 1
        created.json("worktree.undo")
        assert_whole(created)
