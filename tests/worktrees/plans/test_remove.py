"""`worktree.remove` loses no uncommitted work, and no database that is not ours."""

from __future__ import annotations

import json
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


def assert_gone(repository):
    """Assert that nothing of any worktree is left."""
    assert [row["state"] for row in repository.json("worktree.list")] == ["main"]
    assert repository.databases() == []
    assert repository.records() == {}
    assert not repository.worktree("a").exists()


class TestRefusals:
    def test_uncommitted_changes_are_refused(self, created):
        """The error lists changed, staged and untracked files; `--force` goes on."""
        (created.there / "tasks.py").write_text("changed")
        (created.there / "staged").write_text("")
        created.git("add", "staged", cwd=created.there)
        (created.there / "deep").mkdir()
        (created.there / "deep" / "untracked").write_text("")
        said = created.refuses("worktree.remove", "a")
        assert "holds 3 uncommitted changes" in said
        assert "?? deep/untracked" in said
        assert created.json("worktree.remove", "a", "--force")["databases"] == "parked"
        assert_gone(created)

    def test_a_database_on_another_server_is_refused(self, created):
        """A removal under another DATABASE_URL or GOLDENTREE_HOME would leave the database there; `--force` goes on."""
        database = created.records()["a_86f7e4"]["identity"]["database"]
        created.sql(f"ALTER DATABASE {database} RENAME TO {database}_there")
        created.sql(f"COMMENT ON DATABASE {database}_there IS NULL")
        record = created.path / ".git/goldentree/worktrees/a_86f7e4.json"
        record.write_text(record.read_text().replace('"server": "postgresql://', '"server": "postgresql://elsewhere'))
        said = created.refuses("worktree.remove", "a")
        assert f"the database `{database}` is not on postgresql://" in said
        assert "it was created on postgresql://elsewhere" in said
        assert created.there.exists()
        assert created.inv("worktree.remove", "a", "--force").returncode == 0
        created.sql(f"DROP DATABASE {database}_there")

    def test_untracked_files_count_when_status_hides_them(self, created):
        """`status.showUntrackedFiles=no` hides nothing from the check."""
        created.git("config", "status.showUntrackedFiles", "no")
        (created.there / "note").write_text("precious")
        assert "?? note" in created.refuses("worktree.remove", "a")

    def test_unmerged_commits_are_refused(self, created):
        """Commits that no other branch has are listed; pushed or merged ones do not matter."""
        created.commit("Precious", cwd=created.there)
        assert "Precious" in created.refuses("worktree.remove", "a")
        created.git("update-ref", "refs/remotes/origin/a", "a")
        removed = created.json("worktree.remove", "a")
        assert removed["branch"] == "a"
        assert created.git("log", "-1", "--format=%s", removed["commit"]) == "Precious"
        assert_gone(created)

    @pytest.mark.parametrize("options", [["--keep-branch"], ["--force"]])
    def test_unmerged_branch_is_kept_or_forced(self, created, options):
        """`--keep-branch` leaves the branch; with `--force`, undo can restore it."""
        created.commit("Precious", cwd=created.there)
        tip = created.git("rev-parse", "a")
        result = created.inv("worktree.remove", "a", *options)
        assert result.returncode == 0
        branches = created.git("branch", "--format=%(refname:short)").split()
        assert ("a" in branches) == (options == ["--keep-branch"])
        assert "to restore: inv worktree.undo a" in result.stdout
        reference = created.git("for-each-ref", "--format=%(objectname)", "refs/goldentree/removed")
        assert reference == tip
        assert_gone(created)

    def test_merge_in_progress_is_refused(self, created):
        """A merge counts even if nothing conflicts and nothing is changed."""
        created.commit("Theirs", cwd=created.there)
        created.git("switch", "--quiet", "--detach", "main", cwd=created.there)
        created.git("merge", "--quiet", "--no-commit", "--no-ff", "a", cwd=created.there)
        assert "a merge is in progress" in created.refuses("worktree.remove", created.there)

    def test_rebase_in_progress_is_refused(self, created):
        """The branch is not checked out during a rebase."""
        created.commit("One", cwd=created.there)
        stopped = subprocess.run(["git", "-C", created.there, "rebase", "--exec", "false", "HEAD~1"], check=False)
        assert stopped.returncode == 1
        assert "a rebase is in progress" in created.refuses("worktree.remove", created.there)

    def test_commits_on_no_branch_are_refused(self, created):
        """Git would delete commits that no branch holds."""
        created.git("switch", "--quiet", "--detach", cwd=created.there)
        assert created.json("worktree.remove", created.there, "--keep-branch")
        created.json("worktree.create", "a")
        created.git("switch", "--quiet", "--detach", cwd=created.there)
        created.commit("Precious", cwd=created.there)
        assert "no branch holds the commits" in created.refuses("worktree.remove", created.there)
        created.json("worktree.remove", created.there, "--force")
        assert_gone(created)

    @pytest.mark.parametrize("options", [[], ["--force"]])
    def test_locked_worktree_is_refused(self, created, options):
        """`--force` does not override a lock, with or without the directory."""
        created.git("worktree", "lock", "--reason", "on a stick", created.there)
        assert "is locked: on a stick" in created.refuses("worktree.remove", "a", *options)
        shutil.rmtree(created.there)
        assert "is locked: on a stick" in created.refuses("worktree.remove", "a", *options)

    @pytest.mark.parametrize("options", [[], ["--force"]])
    def test_removal_from_inside_is_refused(self, created, options):
        """The shell would be left without a directory."""
        folder = created.there / "deep"
        folder.mkdir()
        for here in (created.there, folder):
            assert "the current directory is in" in created.refuses("worktree.remove", "a", *options, cwd=here)

    def test_main_worktree_is_never_removed(self, created):
        """Neither by branch nor by path, from anywhere."""
        for name in ("main", created.path, "."):
            assert "checked out in the main worktree" in created.refuses("worktree.remove", name, "--force")

    def test_worktree_within_a_worktree_is_refused(self, created):
        """The inner worktree, ignored or not, would be deleted with the outer one."""
        with (created.path / ".git" / "info" / "exclude").open("a") as file:
            file.write("/inner\n")
        created.git("worktree", "add", "--quiet", created.there / "inner", "-b", "inner")
        (created.there / "inner" / "note").write_text("precious")
        assert "contains the worktree" in created.refuses("worktree.remove", "a", "--force")

    @pytest.mark.parametrize("options", [[], ["--force"]])
    def test_corrupt_git_file_is_refused(self, created, options):
        """A check that fails refuses, git would not remove it either, and the record is unchanged."""
        (created.there / ".git").write_text("gitdir: /nowhere\n")
        (created.there / "note").write_text("precious")
        created.refuses("worktree.remove", "a", *options)
        assert created.json("worktree.list")[1]["state"] == "ready"

    def test_another_directory_in_its_place_is_refused(self, created):
        """In a new directory, git would look into the repository that contains it."""
        inside = created.path / "trees" / "b"
        created.json("worktree.create", "b", "--path", inside)
        shutil.rmtree(inside)
        inside.mkdir()
        assert "cannot determine whether" in created.refuses("worktree.remove", "b")

    def test_unpushed_repository_within_is_refused(self, created):
        """Its commits are saved nowhere, so not even `--force` deletes it."""
        within = created.there / "lib"
        within.mkdir()
        created.git("init", "--quiet", cwd=within)
        created.commit("Precious", cwd=within)
        assert "lib in" in created.refuses("worktree.remove", "a", "--force")

    def test_copy_of_the_repository_removes_nothing(self, created):
        """The worktrees and databases belong to the original repository."""
        copy = created.path.with_name("copy")
        shutil.copytree(created.path, copy, symlinks=True)
        assert "another repository" in created.refuses("worktree.remove", "a", "--force", cwd=copy)
        before = created.databases()
        created.there.rename(created.there.with_name("away"))
        assert created.json("worktree.gc", "--yes", cwd=copy)[0]["kind"] == "worktree"
        created.there.with_name("away").rename(created.there)
        assert created.databases() == before
        assert created.json("worktree.list")[1]["state"] == "ready"

    def test_unknown_name_lists_linked_worktrees(self, created):
        """A prefix or a part of a name does not name a worktree."""
        created.json("worktree.create", "a-b")
        for name in ("a-", "app", "b", "A", "*", "a_86f7e"):
            assert "linked worktrees: a, a-b" in created.refuses("worktree.remove", name)


class TestBeforeRemove:
    """`worktree.before_remove` of the main worktree's invoke.yaml."""

    def configure(self, created, *commands):
        (created.path / "invoke.yaml").write_text(json.dumps({"worktree": {"before_remove": commands}}))
        return created.path / "log"

    def test_commands_run_in_the_worktree_in_order(self, created):
        """They have the worktree's own environment, and run before its processes are ended."""
        process = subprocess.Popen(["sleep", "600"], cwd=created.there)
        log = self.configure(
            created, "true", "pwd > $LOG; echo $DATABASE_URL $PORT >> $LOG", f"kill -0 {process.pid} && echo up >> $LOG"
        )
        wanted = created.env("a")
        created.json("worktree.remove", "a", env={"LOG": str(log)})
        assert log.read_text() == f"{created.there}\n{wanted['DATABASE_URL']} {wanted['PORT']}\nup\n"
        assert process.wait(10) != 0
        assert_gone(created)

    def test_preview_runs_no_command(self, created):
        """`-R` lists the command."""
        log = self.configure(created, "echo ran >> ../app/log")
        assert "would run echo ran >> ../app/log\n" in created.inv("-R", "worktree.remove", "a").stdout
        assert not log.exists()

    def test_failing_command_stops_the_removal(self, created):
        """Worktree, databases and record stay; the commands after it do not run."""
        log = self.configure(created, "echo broken >&2; exit 3", "echo ran >> ../app/log")
        said = created.refuses("worktree.remove", "a")
        assert "broken" in said
        assert "the worktree was not removed" in said
        assert not log.exists()
        assert created.json("worktree.list")[1]["state"] == "ready"
        self.configure(created)
        created.json("worktree.remove", "a")
        assert_gone(created)

    def test_branch_cannot_bring_its_own_commands(self, created):
        """Only the main worktree's invoke.yaml counts."""
        (created.there / "invoke.yaml").write_text("worktree: {before_remove: 'echo ran >> ../app/log'}\n")
        (created.path / ".git" / "info" / "exclude").write_text("invoke.yaml\n")
        created.json("worktree.remove", "a")
        assert not (created.path / "log").exists()

    def test_work_that_a_command_writes_is_refused(self, created):
        """The checks run again right before the removal."""
        self.configure(created, "echo precious > note")
        assert "?? note" in created.refuses("worktree.remove", "a")
        assert (created.there / "note").read_text() == "precious\n"
        assert created.json("worktree.list")[1]["state"] == "ready"

    def test_work_that_a_command_writes_is_saved_by_force(self, created):
        """`--force` saves it, so that undo restores it."""
        self.configure(created, "echo precious > note")
        created.json("worktree.remove", "a", "--force")
        assert_gone(created)
        created.json("worktree.undo", "a")
        assert (created.there / "note").read_text() == "precious\n"

    def test_work_that_an_ended_process_writes_is_refused(self, created):
        """A process may save its work when it is ended, such as an editor."""
        code = "import os, signal, time\n"
        code += "def save(*_):\n    open('note', 'w').write('precious')\n    os._exit(0)\n"
        code += "signal.signal(signal.SIGTERM, save)\nprint(flush=True)\nwhile True: time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code], cwd=created.there, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            assert "?? note" in created.refuses("worktree.remove", "a")
        assert (created.there / "note").read_text() == "precious"
        assert created.json("worktree.list")[1]["state"] == "ready"


class TestWhatGoes:
    def test_branch_that_moves_during_its_deletion_stays(self, created, monkeypatch):
        """Between the last look at it and its deletion, it may get a commit."""
        newer = created.git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "Newer")
        listed = remove.list_worktrees

        def moving(main):
            if not created.there.exists():
                created.git("update-ref", "refs/heads/a", newer)
            return listed(main)

        monkeypatch.setattr(remove, "list_worktrees", moving)
        assert created.inv("worktree.remove", "a").returncode == 1
        assert created.git("rev-parse", "a") == newer

    def test_removal_leaves_the_sibling_alone(self, created):
        """`a` is removed; `a-b` keeps its worktree, database and record."""
        other = created.json("worktree.create", "a-b")
        assert created.json("worktree.remove", "a") == {
            "path": str(created.there),
            "branch": "a",
            "commit": created.git("rev-parse", "main"),
            "saved": None,
            "kept": [],
            "lost": [],
            "databases": "parked",
            "parked": created.databases(parked=True),
            "removed": ANY,
        }
        assert created.databases() == [other["database"]]
        assert created.json("db.status", cwd=other["path"])["tables"] > 0
        assert [row["branch"] for row in created.json("worktree.list")] == ["main", "a-b"]

    @pytest.mark.parametrize("name", ["a_86f7e4", "../app-a"])
    def test_removal_by_slug_or_path(self, created, name):
        """The slug and the path name a worktree as well."""
        created.json("worktree.remove", name)
        assert_gone(created)

    def test_removal_ends_sessions_in_the_database(self, created):
        """A connected dev server does not keep its database."""
        database = created.databases()[0]
        with psycopg.connect(created.url, dbname=database):
            created.json("worktree.remove", "a")
        assert_gone(created)

    def test_worktree_deleted_by_hand_is_removed(self, created):
        """The list says that it is gone; another worktree on an unmounted volume is not pruned."""
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

    def test_worktree_pruned_by_git_is_removed(self, created):
        """The record is enough to find the database and the branch."""
        shutil.rmtree(created.there)
        created.git("worktree", "prune")
        assert [row["state"] for row in created.json("worktree.list")] == ["main", "gone"]
        assert "worktree.remove" in created.refuses("worktree.create", "a")
        assert "is gone from" in created.refuses("worktree.path", "a")
        assert created.json("worktree.remove", "a")["databases"] == "parked"
        assert_gone(created)

    def test_branch_checked_out_elsewhere_is_kept(self, created):
        """The other worktree would be left without a commit."""
        shutil.rmtree(created.there)
        created.git("worktree", "prune")
        created.git("switch", "--quiet", "--create", "away")
        created.git("switch", "--quiet", "a")
        assert created.json("worktree.remove", "a_86f7e4", "--force")["branch"] is None
        assert created.git("rev-parse", "--abbrev-ref", "HEAD") == "a"
        created.git("rev-parse", "--verify", "a")

    def test_plain_worktree_is_removed(self, created):
        """A worktree of plain git has no database to drop."""
        created.git("worktree", "add", "--quiet", created.worktree("plain"), "-b", "plain")
        assert created.json("worktree.remove", "plain")["databases"] == "absent"
        assert len(created.databases()) == 1

    def test_worktree_behind_a_link_is_removed(self, created):
        """Worktrees that were moved together, with a link in the old place, are found."""
        folder = created.path.parent
        away = folder.with_name(f"{folder.name}-away")
        folder.rename(away)
        folder.symlink_to(away)
        assert created.json("worktree.remove", str(created.there))["databases"] == "parked"
        assert_gone(created)

    def test_longest_directory_name_is_moved_aside(self, created):
        """A directory whose name has nearly the maximum length is removed and restored."""
        created.git("worktree", "add", "--quiet", created.path.with_name("x" * 250), "-b", "plain")
        created.json("worktree.remove", "plain")
        created.json("worktree.undo", "plain")
        assert created.path.with_name("x" * 250).is_dir()

    def test_processes_that_fork_are_ended(self, created):
        """A process that forks while it ends leaves none behind."""
        code = "import os, signal, time\n"
        code += "def end(*_):\n    if os.fork(): os._exit(0)\n    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        code += "signal.signal(signal.SIGTERM, end)\nprint(flush=True)\nwhile True: time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code], cwd=created.there, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            created.json("worktree.remove", "a")
        assert_gone(created)
        assert find_processes_in(created.path.parent) == []

    def test_directory_returns_when_git_refuses(self, created):
        """If another directory has taken its place, the error says where the files are."""
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

    def test_preview_of_a_removal_changes_nothing(self, created):
        """`-R` lists every step."""
        before = created.world()
        result = created.inv("-R", "worktree.remove", "a")
        assert result.returncode == 0
        assert f"would remove the worktree {created.there}\nwould park {created.databases()[0]}\n" in result.stdout
        assert "would delete branch a\n" in result.stdout
        assert created.world() == before


class TestInterruptedRemoval:
    def test_interrupted_removal_keeps_a_used_branch(self, created):
        """A branch that was checked out since then is kept, and the databases that were parked are reported."""
        assert created.dies("after", 1, "tasks_lib.databases.clone.park:park", "worktree.remove", "a")
        created.git("switch", "--quiet", "a")
        removed = created.json("worktree.remove", "a_86f7e4")
        assert removed["parked"] == created.databases(parked=True) != []
        assert created.git("rev-parse", "HEAD") == removed["commit"]
        assert created.records() == {}


class TestTheDatabase:
    @pytest.mark.parametrize("comment", ["NULL", "'mine'", '\'{"tool": "goldentree"}\''])
    def test_database_without_our_comment_stays(self, created, comment):
        """A warning names it; the worktree is removed."""
        database = created.databases()[0]
        created.sql(f'COMMENT ON DATABASE "{database}" IS {comment}')
        result = created.inv("worktree.remove", "a")
        assert result.returncode == 0
        assert f"warning: no database was parked: `{database}` does not exist" in result.stderr
        assert created.databases() == [database]
        assert created.records() == {}

    def test_removal_without_a_server_stays_pending(self, created):
        """The worktree is removed; its record stays until the database can be parked."""
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
        assert_gone(created)

    def test_missing_database_is_reported(self, created, servers):
        """The warning names the server on which the database was created."""
        created.sql(f'DROP DATABASE "{created.databases()[0]}"')
        result = created.inv("worktree.remove", "a")
        assert result.returncode == 0
        assert "it was created on postgresql://" in result.stderr
