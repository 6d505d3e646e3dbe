"""Removing: nothing that was not committed is lost, and no database that is not ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from unittest.mock import ANY

import psycopg
import pytest

from tasks_lib.errors import GitError
from tasks_lib.git.repository import Repository
from tasks_lib.settings import load
from tasks_lib.worktrees import project
from tasks_lib.worktrees.plans import remove
from tasks_lib.worktrees.processes import find_processes_in


@pytest.fixture
def created(repository):
    """Give a repository with a worktree of branch `a`."""
    repository.json("worktree.create", "a")
    repository.there = repository.worktree("a")
    return repository


def gone(repository):
    """Assert that nothing of any worktree is left."""
    assert [row["state"] for row in repository.json("worktree.list")] == ["main"]
    assert repository.databases() == []
    assert repository.records() == {}
    assert not repository.worktree("a").exists()


class TestRefusals:
    def test_uncommitted(self, created):
        """Changed, staged and untracked files are named."""
        (created.there / "tasks.py").write_text("changed")
        (created.there / "staged").write_text("")
        created.git("add", "staged", cwd=created.there)
        (created.there / "deep").mkdir()
        (created.there / "deep" / "untracked").write_text("")
        said = created.refuses("worktree.remove", "a")
        assert "holds 3 uncommitted changes" in said
        assert "?? deep/untracked" in said
        assert created.json("worktree.remove", "a", "--force")["databases"] == "parked"
        gone(created)

    def test_untracked_that_status_is_told_to_hide(self, created):
        """A user's `status.showUntrackedFiles=no` hides nothing from us."""
        created.git("config", "status.showUntrackedFiles", "no")
        (created.there / "note").write_text("precious")
        assert "?? note" in created.refuses("worktree.remove", "a")

    def test_unmerged(self, created):
        """Commits that are nowhere else are named; pushed or merged ones do not matter."""
        created.commit("Precious", cwd=created.there)
        assert "Precious" in created.refuses("worktree.remove", "a")
        created.git("update-ref", "refs/remotes/origin/a", "a")
        removed = created.json("worktree.remove", "a")
        assert removed["branch"] == "a"
        assert created.git("log", "-1", "--format=%s", removed["commit"]) == "Precious"
        gone(created)

    @pytest.mark.parametrize("options", [["--keep-branch"], ["--force"]])
    def test_unmerged_all_the_same(self, created, options):
        """`--keep-branch` leaves the branch; `--force` says how to have it back."""
        created.commit("Precious", cwd=created.there)
        tip = created.git("rev-parse", "a")
        result = created.inv("worktree.remove", "a", *options)
        assert result.returncode == 0
        branches = created.git("branch", "--format=%(refname:short)").split()
        assert ("a" in branches) == (options == ["--keep-branch"])
        assert "to have it back: inv worktree.undo a" in result.stdout
        reference = created.git("for-each-ref", "--format=%(objectname)", "refs/goldentree/removed")
        assert reference == tip
        gone(created)

    def test_a_merge_in_progress(self, created):
        """Also where nothing conflicts and nothing is changed."""
        created.commit("Theirs", cwd=created.there)
        created.git("switch", "--quiet", "--detach", "main", cwd=created.there)
        created.git("merge", "--quiet", "--no-commit", "--no-ff", "a", cwd=created.there)
        assert "a merge is in progress" in created.refuses("worktree.remove", created.there)

    def test_a_rebase_in_progress(self, created):
        """Its branch is not even checked out meanwhile."""
        created.commit("One", cwd=created.there)
        stopped = subprocess.run(["git", "-C", created.there, "rebase", "--exec", "false", "HEAD~1"], check=False)
        assert stopped.returncode == 1
        assert "a rebase is in progress" in created.refuses("worktree.remove", created.there)

    def test_detached_commits(self, created):
        """Commits that no branch holds would be forgotten with the worktree."""
        created.git("switch", "--quiet", "--detach", cwd=created.there)
        assert created.json("worktree.remove", created.there, "--keep-branch")
        created.json("worktree.create", "a")
        created.git("switch", "--quiet", "--detach", cwd=created.there)
        created.commit("Precious", cwd=created.there)
        assert "no branch holds the commits" in created.refuses("worktree.remove", created.there)
        created.json("worktree.remove", created.there, "--force")
        gone(created)

    @pytest.mark.parametrize("options", [[], ["--force"]])
    def test_locked(self, created, options):
        """A lock is somebody's word; `--force` does not override it."""
        created.git("worktree", "lock", "--reason", "on a stick", created.there)
        assert "is locked: on a stick" in created.refuses("worktree.remove", "a", *options)
        shutil.rmtree(created.there)
        assert "is locked: on a stick" in created.refuses("worktree.remove", "a", *options)

    @pytest.mark.parametrize("options", [[], ["--force"]])
    def test_from_inside(self, created, options):
        """The shell would be left without a directory."""
        folder = created.there / "deep"
        folder.mkdir()
        for here in (created.there, folder):
            assert "the current directory is in" in created.refuses("worktree.remove", "a", *options, cwd=here)

    def test_the_main_worktree(self, created):
        """By branch or by path, from wherever."""
        for name in ("main", created.path, "."):
            assert "checked out in the main worktree" in created.refuses("worktree.remove", name, "--force")

    def test_one_within_another(self, created):
        """A worktree that lies in another, perhaps ignored there, would be deleted with it."""
        with (created.path / ".git" / "info" / "exclude").open("a") as file:
            file.write("/inner\n")
        created.git("worktree", "add", "--quiet", created.there / "inner", "-b", "inner")
        (created.there / "inner" / "note").write_text("precious")
        assert "lies in" in created.refuses("worktree.remove", "a", "--force")

    @pytest.mark.parametrize("options", [[], ["--force"]])
    def test_a_corrupt_git_file(self, created, options):
        """A check that fails is a refusal, and git itself does not remove it either; the record stays as it was."""
        (created.there / ".git").write_text("gitdir: /nowhere\n")
        (created.there / "note").write_text("precious")
        created.refuses("worktree.remove", "a", *options)
        assert created.json("worktree.list")[1]["state"] == "ready"

    def test_another_directory_in_its_place(self, created):
        """`rm -rf` and `mkdir` leave a directory that git would look into the repository above for."""
        inside = created.path / "trees" / "b"
        created.json("worktree.create", "b", "--path", inside)
        shutil.rmtree(inside)
        inside.mkdir()
        assert "cannot determine whether" in created.refuses("worktree.remove", "b")

    def test_a_repository_within(self, created):
        """What it holds is kept nowhere, so `--force` does not delete it either."""
        within = created.there / "lib"
        within.mkdir()
        created.git("init", "--quiet", cwd=within)
        created.commit("Precious", cwd=within)
        assert "lib in" in created.refuses("worktree.remove", "a", "--force")

    def test_in_a_copy_of_the_repository(self, created):
        """Its worktrees are the original's, and so are the databases."""
        copy = created.path.with_name("copy")
        shutil.copytree(created.path, copy, symlinks=True)
        assert "another repository" in created.refuses("worktree.remove", "a", "--force", cwd=copy)
        before = created.databases()
        created.there.rename(created.there.with_name("away"))
        assert created.json("worktree.gc", "--yes", cwd=copy)[0]["kind"] == "worktree"
        created.there.with_name("away").rename(created.there)
        assert created.databases() == before
        assert created.json("worktree.list")[1]["state"] == "ready"

    def test_unknown(self, created):
        """The linked worktrees are named; a prefix or a part of a name is no name."""
        created.json("worktree.create", "a-b")
        for name in ("a-", "app", "b", "A", "*", "a_86f7e"):
            assert "linked worktrees: a, a-b" in created.refuses("worktree.remove", name)


class TestWhatGoes:
    def test_its_sibling_stays(self, created):
        """`a` is removed, `a-b` with all that is its own is not."""
        other = created.json("worktree.create", "a-b")
        assert created.json("worktree.remove", "a") == {
            "path": str(created.there),
            "branch": "a",
            "commit": created.git("rev-parse", "main"),
            "saved": None,
            "databases": "parked",
            "parked": created.databases(parked=True),
            "removed": ANY,
        }
        assert created.databases() == [other["database"]]
        assert created.json("db.status", cwd=other["path"])["tables"] > 0
        assert [row["branch"] for row in created.json("worktree.list")] == ["main", "a-b"]

    @pytest.mark.parametrize("name", ["a_86f7e4", "../app-a"])
    def test_by_another_name(self, created, name):
        """The slug and the path name a worktree as well."""
        created.json("worktree.remove", name)
        gone(created)

    def test_sessions_in_it(self, created):
        """A dev server that is still connected does not keep its database."""
        database = created.databases()[0]
        with psycopg.connect(created.url, dbname=database):
            created.json("worktree.remove", "a")
        gone(created)

    def test_deleted_by_hand(self, created):
        """The list says so, and what is left goes; another worktree that is away is not pruned."""
        created.json("worktree.create", "stick")
        created.worktree("stick").rename(created.path.parent / "away")
        shutil.rmtree(created.there)
        states = {row["branch"]: row["state"] for row in created.json("worktree.list")}
        assert states == {"main": "main", "a": "gone", "stick": "gone"}
        assert "is gone from" in created.refuses("worktree.path", "a")
        created.json("worktree.remove", "a")
        (created.path.parent / "away").rename(created.worktree("stick"))
        states = {row["branch"]: row["state"] for row in created.json("worktree.list")}
        assert states == {"main": "main", "stick": "ready"}

    def test_pruned_by_git(self, created):
        """The record is enough to find the database and the branch."""
        shutil.rmtree(created.there)
        created.git("worktree", "prune")
        assert [row["state"] for row in created.json("worktree.list")] == ["main", "gone"]
        assert "worktree.remove" in created.refuses("worktree.create", "a")
        assert "is gone from" in created.refuses("worktree.path", "a")
        assert created.json("worktree.remove", "a")["databases"] == "parked"
        gone(created)

    def test_a_branch_that_is_checked_out_elsewhere(self, created):
        """It is kept, or the other worktree would stand on nothing."""
        shutil.rmtree(created.there)
        created.git("worktree", "prune")
        created.git("switch", "--quiet", "--create", "away")
        created.git("switch", "--quiet", "a")
        assert created.json("worktree.remove", "a_86f7e4", "--force")["branch"] is None
        assert created.git("rev-parse", "--abbrev-ref", "HEAD") == "a"
        created.git("rev-parse", "--verify", "a")

    def test_made_without_this_tool(self, created):
        """A plain worktree is removed as well; there is no database to drop."""
        created.git("worktree", "add", "--quiet", created.worktree("plain"), "-b", "plain")
        assert created.json("worktree.remove", "plain")["databases"] == "absent"
        assert len(created.databases()) == 1

    def test_behind_a_link(self, created):
        """Worktrees that were moved together, with a link in the old place, are where they are."""
        folder = created.path.parent
        away = folder.with_name(f"{folder.name}-away")
        folder.rename(away)
        folder.symlink_to(away)
        assert created.json("worktree.remove", str(created.there))["databases"] == "parked"
        gone(created)

    def test_the_longest_name(self, created):
        """A directory whose name can hardly be longer goes like any other."""
        created.git("worktree", "add", "--quiet", created.path.with_name("x" * 250), "-b", "plain")
        created.json("worktree.remove", "plain")
        created.json("worktree.undo", "plain")
        assert created.path.with_name("x" * 250).is_dir()

    def test_what_is_started_anew(self, created):
        """A process that forks while it ends leaves none behind."""
        code = "import os, signal, time\n"
        code += "def end(*_):\n    if os.fork(): os._exit(0)\n    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        code += "signal.signal(signal.SIGTERM, end)\nprint(flush=True)\nwhile True: time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code], cwd=created.there, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            created.json("worktree.remove", "a")
        gone(created)
        assert find_processes_in(created.path.parent) == []

    def test_git_refuses(self, created):
        """The directory that had been moved away is back in its place; where that is taken, it is said where it is."""
        found = project.Project(Repository.find(created.path), load(created.path, {}, {}))
        trash = created.path.with_name("trash")
        created.git("worktree", "lock", created.there)
        with pytest.raises(GitError, match="worktree failed"):
            remove._move_aside(found, created.there, trash)
        assert (created.there / "tasks.py").exists()
        created.there.rename(trash)
        (created.there / "log").mkdir(parents=True)
        trash.rename(created.path.with_name("other"))
        with pytest.raises(GitError, match="worktree failed"):
            remove._move_aside(found, created.there, trash)
        assert (created.there / "log").exists()

    def test_preview(self, created):
        """`-R` says what would go, and nothing does."""
        before = created.world()
        result = created.inv("-R", "worktree.remove", "a")
        assert result.returncode == 0
        assert f"would remove the worktree {created.there}\nwould park {created.databases()[0]}\n" in result.stdout
        assert "would delete branch a\n" in result.stdout
        assert created.world() == before


class TestCutShort:
    def test_its_branch_is_in_use_by_then(self, created):
        """Whoever has switched to it keeps it; what was parked already is told."""
        assert created.dies("after", 1, "tasks_lib.databases.clone.park:park", "worktree.remove", "a")
        created.git("switch", "--quiet", "a")
        removed = created.json("worktree.remove", "a_86f7e4")
        assert removed["parked"] == created.databases(parked=True) != []
        assert created.git("rev-parse", "HEAD") == removed["commit"]
        assert created.records() == {}


class TestTheDatabase:
    @pytest.mark.parametrize("comment", ["NULL", "'mine'", '\'{"tool": "goldentree"}\''])
    def test_not_provably_ours(self, created, comment):
        """A database without our mark stays, and that is said; the worktree is removed."""
        database = created.databases()[0]
        created.sql(f'COMMENT ON DATABASE "{database}" IS {comment}')
        result = created.inv("worktree.remove", "a")
        assert result.returncode == 0
        assert f"warning: no database was parked: `{database}` does not exist" in result.stderr
        assert created.databases() == [database]
        assert created.records() == {}

    def test_server_down(self, created):
        """The worktree goes; the record stays until the database can go as well."""
        env = created.path / ".env"
        text = env.read_text()
        env.write_text(text.replace(created.url, "postgresql://ada:s3cret@127.0.0.1:1/x"))
        result = created.inv("worktree.remove", "a")
        assert result.returncode == 1
        assert "parks them when the server is back" in result.stderr
        assert "s3cret" not in result.stderr
        assert not created.there.exists()
        assert [row["state"] for row in created.json("worktree.list")] == ["main", "removing"]
        assert len(created.databases()) == 1
        env.write_text(text)
        assert created.json("worktree.remove", "a")["databases"] == "parked"
        gone(created)

    def test_another_server(self, created, servers):
        """A database that is not where it was made is not passed over in silence."""
        created.sql(f'DROP DATABASE "{created.databases()[0]}"')
        result = created.inv("worktree.remove", "a")
        assert result.returncode == 0
        assert "it was created on postgresql://" in result.stderr
