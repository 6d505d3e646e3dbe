"""`worktree.undo` restores what a removal removed, with its rows and its uncommitted work."""

from __future__ import annotations

import pytest


@pytest.fixture
def created(repository):
    """Give a repository with a worktree of branch `a` that has a row, a commit and uncommitted work."""
    repository.json("worktree.create", "a")
    repository.there = repository.worktree("a")
    (repository.there / "kept").write_text("committed\n")
    repository.commit("Precious", cwd=repository.there)
    (repository.there / "kept").write_text("changed\n")
    (repository.there / "new file").write_text("untracked\n")
    repository.database = repository.databases()[0]
    repository.sql("CREATE TABLE mine AS SELECT 42 AS answer", repository.database)
    return repository


def assert_whole(repository):
    """Assert that the worktree is as the fixture created it."""
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


def test_undo_restores_the_whole_worktree(created):
    """Worktree, branch, commits, uncommitted work, rows, env file and port, under the same names."""
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
    assert_whole(created)
    assert "nothing to undo: no removal was found" in created.refuses("worktree.undo")


def test_removal_killed_while_moving_loses_nothing(created):
    """Between the rename and git's unregistering; removal, undo and gc all continue from there."""
    for finish in (["worktree.remove", "a", "--force"], ["worktree.gc", "--yes"], []):
        function = "tasks_lib.worktrees.plans.remove:_forget_worktree"
        assert created.dies("before", 1, function, "worktree.remove", "a", "--force")
        assert not created.there.exists()
        if finish:
            created.json(*finish)
        created.json("worktree.undo", "a")
        assert_whole(created)
        assert sorted(path.name for path in created.path.parent.iterdir()) == ["app", "app-a"]


def test_undo_killed_during_the_checkout_is_finished(created):
    """A half-created worktree is created again; one that only lacks our mark is finished."""
    created.json("worktree.remove", "a", "--force")
    for half in (False, True):
        assert created.dies("before", 1, "tasks_lib.worktrees.registry:Registry.mark", "worktree.undo", "a")
        if half:
            created.git("worktree", "lock", "--reason", "initializing", created.there)
            (created.there / "kept").unlink()
        created.json("worktree.undo", "a")
        assert_whole(created)
        created.json("worktree.remove", "a", "--force")


def test_undo_spares_a_worktree_in_its_place(created):
    """A worktree that was created there since then is not unregistered; each removal has a unique key."""
    created.json("worktree.remove", "a", "--force")
    note = next((created.path / ".git/goldentree/removed").glob("*.json")).stem
    assert created.dies("after", 3, "tasks_lib.plan:Plan._run_step", "worktree.create", "a")
    assert f"inv worktree.undo {note}" in created.refuses("worktree.undo", "a")
    created.json("worktree.create", "a")
    created.json("worktree.remove", "a")
    created.json("worktree.undo", note)
    assert created.git("log", "-1", "--format=%s", cwd=created.there) == "Precious"
    assert created.sql("SELECT answer FROM mine", created.database) == [(42,)]


def test_branch_created_again_keeps_its_commits(created):
    """A creation that finishes an interrupted undo starts the branch again without losing its commits."""
    created.json("worktree.remove", "a", "--force")
    assert created.dies("after", 1, "tasks_lib.plan:Plan._run_step", "worktree.undo", "a")
    created.json("worktree.create", "a")
    assert "git branch -m a ANOTHER" in created.refuses("worktree.undo", "a")


def test_plain_worktrees_of_one_path_are_restored(created):
    """Plain worktrees that were at the same path one after another come back with their own work."""
    there = created.worktree("plain")
    for branch in ("p", "q"):
        created.git("worktree", "add", "--quiet", there, "-b", branch)
        created.commit(f"Of {branch}", cwd=there)
        (there / "new").write_text(branch)
        created.json("worktree.remove", branch, "--force")
    created.json("worktree.undo", "q")
    assert "exists already" in created.refuses("worktree.undo", "p")
    created.json("worktree.undo", "p", "--path", created.worktree("other"))
    for branch, path in (("q", there), ("p", created.worktree("other"))):
        assert (path / "new").read_text() == branch
        assert created.git("log", "-1", "--format=%s", cwd=path) == f"Of {branch}"


def test_undo_killed_after_every_step_is_finished(created):
    """A killed removal and a killed undo are finished by running them again."""
    step, function = 0, "tasks_lib.plan:Plan._run_step"
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
                    assert "no worktree of `a` was found" in again.stderr
                assert not created.there.exists()
                assert created.records() == {}
                assert created.json("worktree.undo", "a")
                assert_whole(created)
            else:
                if again.returncode:  # its removal record went with the last step
                    assert "no removal of `a` was found" in again.stderr
                assert_whole(created)
                created.json("worktree.remove", "a", "--force")
        assert step > 4
