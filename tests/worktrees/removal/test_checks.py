"""What a removal would lose: every kind of work is seen, and a question without an answer is a refusal."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tasks_lib.errors import WorktreeError
from tasks_lib.git.repository import Repository, list_worktrees
from tasks_lib.settings import load
from tasks_lib.worktrees.project import Project
from tasks_lib.worktrees.removal import checks


class World:
    """A repository with a linked worktree of branch `a`."""

    def __init__(self, folder):
        self.folder, self.main, self.there = folder, folder / "app", folder / "app-a"
        self.repository("app")
        self.git("worktree", "add", "--quiet", "-b", "a", self.there)

    def repository(self, name):
        self.git("init", "--quiet", name, cwd=self.folder)
        (self.folder / name / "file").write_text("first\n")
        self.git("add", "--all", cwd=self.folder / name)
        self.git("commit", "--quiet", "--message", "Start", cwd=self.folder / name)
        return self.folder / name

    def git(self, *arguments, cwd=None, check=True):
        return subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *map(str, arguments)],
            cwd=cwd or self.main,
            check=check,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, text, cwd=None):
        cwd = cwd or self.there
        (cwd / "file").write_text(text)
        self.git("commit", "--quiet", "--all", "--message", text, cwd=cwd)
        return self.git("rev-parse", "HEAD", cwd=cwd)

    def project(self):
        return Project(Repository.find(self.main), load(self.main, {}, {}))

    def rows(self):
        rows = list_worktrees(self.main)
        listed = next(row for row in rows if row.path == self.there)
        return listed, [row for row in rows if row.path != self.there]

    def removable(self):
        checks.require_removable(self.project(), *self.rows())

    def nothing_lost(self, **options):
        checks.require_nothing_lost(self.project(), self.rows()[0], **options)

    def merged(self, branch="a"):
        checks.require_merged(self.project(), branch, self.git("rev-parse", branch))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def refuses(check, *words, **options):
    """Expect a refusal that says *words*, and return it whole."""
    with pytest.raises(WorktreeError) as raised:
        check(**options)
    said = str(raised.value)
    assert all(word in said for word in words), said
    return said


class TestRemovable:
    def test_what_never_is(self, world, monkeypatch):
        """The main worktree, a locked one whether or not it is there, one that is being made, the one we stand in."""
        world.removable()
        main = list_worktrees(world.main)[0]
        with pytest.raises(WorktreeError, match="is the main worktree"):
            checks.require_removable(world.project(), main, [])
        monkeypatch.chdir(world.there)
        refuses(world.removable, "the current directory is in")
        monkeypatch.chdir(world.folder)
        world.git("worktree", "add", "--quiet", "--detach", world.there / "inner")
        refuses(world.removable, f"contains the worktree {world.there / 'inner'}")
        world.git("worktree", "remove", world.there / "inner")
        world.git("worktree", "lock", "--reason", "initializing", world.there)
        refuses(world.removable, "is being created")
        world.git("worktree", "unlock", world.there)
        world.git("worktree", "lock", world.there)
        refuses(world.removable, "is locked")
        shutil.rmtree(world.there)
        refuses(world.removable, "is locked")
        world.git("worktree", "unlock", world.there)
        world.removable()

    def test_another_in_its_place(self, world):
        """A clone, a sibling, a file or an empty directory at the worktree's path is not the worktree."""
        away = world.there.rename(world.folder / "away")
        world.removable()
        world.there.write_text("a file")
        refuses(world.removable, "cannot determine whether")
        world.there.unlink()
        world.there.mkdir()
        refuses(world.removable, "cannot determine whether")
        (world.there / ".git").write_text("gitdir: /nowhere\n")
        refuses(world.removable, "cannot determine whether")
        shutil.rmtree(world.there)
        world.git("clone", "--quiet", world.main, world.there)
        refuses(world.removable, "cannot determine whether")
        shutil.rmtree(world.there)
        world.git("worktree", "add", "--quiet", "-b", "b", world.folder / "b")
        shutil.copytree(world.folder / "b", world.there)
        refuses(world.removable, "its .git points to", "worktrees/b")
        shutil.rmtree(world.there)
        away.rename(world.there)
        world.removable()

    def test_relative_pointers(self, world):
        """Under `worktree.useRelativePaths` both pointers are relative to where they are."""
        listed, others = world.rows()  # as a git that knows the setting lists it
        (world.there / ".git").write_text("gitdir: ../app/.git/worktrees/app-a\n")
        (world.main / ".git" / "worktrees" / "app-a" / "gitdir").write_text("../../../../app-a/.git\n")
        checks.require_removable(world.project(), listed, others)


class TestNothingLost:
    def test_changes(self, world):
        """Every kind is named, whatever status is configured to hide; signs that would garble a terminal are not."""
        world.nothing_lost()
        for setting in ("status.showUntrackedFiles=no", "status.renames=copies", "core.fsmonitor=false"):
            world.git("config", *setting.split("="))
        (world.there / "file").rename(world.there / "moved\x1b[31m")
        (world.there / "staged").write_text("")
        world.git("add", "staged", cwd=world.there)
        refuses(world.nothing_lost, "holds 3 uncommitted changes", " D file", "A  staged", "?? moved\\x1b[31m")
        (world.there / "many").mkdir()
        for number in range(20):
            (world.there / "many" / str(number)).write_text("")
        assert refuses(world.nothing_lost, "holds 23 uncommitted changes", "…").count("\n") < 14

    def test_ignored_and_stashed(self, world):
        """What is ignored is no work; a stash belongs to the repository."""
        (world.main / ".git" / "info" / "exclude").write_text("build\n")
        (world.there / "build").mkdir()
        (world.there / "build" / "out").write_text("")
        (world.there / "file").write_text("stashed")
        world.git("stash", cwd=world.there)
        world.nothing_lost()

    def test_what_it_was_given(self, world):
        """Copies of the main worktree's files, and links to them, are nobody's work; changed copies are."""
        for place in (world.main, world.there):
            (place / "deep").mkdir()
            (place / "deep" / "seed.env").write_bytes(b"same\r\n")
            (place / "relative").symlink_to("deep/seed.env")
        (world.main / "modules").mkdir()
        (world.there / "modules").symlink_to(world.main / "modules")
        (world.there / "written").write_text("by us")
        refuses(world.nothing_lost, "holds 1 uncommitted change\n", "?? written")
        world.nothing_lost(not_work={"written"})
        (world.there / "written").unlink()
        (world.there / "dangling").symlink_to(world.main / "dangling")
        refuses(world.nothing_lost, "?? dangling")
        (world.there / "dangling").unlink()
        (world.there / "deep" / "seed.env").write_bytes(b"mine\r\n")
        refuses(world.nothing_lost, "?? deep/seed.env")

    @pytest.mark.parametrize(
        ("what", "commands"),
        [
            ("a merge", ["merge --no-commit --no-ff b"]),
            ("a rebase", ["rebase --exec false HEAD~1"]),
            ("a cherry-pick", ["commit --quiet --amend --allow-empty -m x", "cherry-pick c"]),
            ("a bisection", ["bisect start"]),
        ],
    )
    def test_operations(self, world, what, commands):
        """An operation in progress is work, even where nothing is changed."""
        world.commit("second")
        world.git("branch", "c")
        world.git("switch", "--quiet", "--detach", "HEAD", cwd=world.there)
        world.git("switch", "--quiet", "-c", "b", "main", cwd=world.there)
        (world.there / "other").write_text("")
        world.git("add", "--all", cwd=world.there)
        world.git("commit", "--quiet", "--message", "Other", cwd=world.there)
        world.git("switch", "--quiet", "a", cwd=world.there)
        for command in commands:
            world.git(*command.split(), cwd=world.there, check=False)
        refuses(world.nothing_lost, f"{what} is in progress")

    def test_detached(self, world):
        """Commits that no branch, tag or remote holds would be forgotten, also when the directory is gone."""
        world.git("switch", "--quiet", "--detach", cwd=world.there)
        world.nothing_lost()
        tip = world.commit("precious")
        refuses(world.nothing_lost, "no branch holds the commits", f"git branch BRANCH {tip}")
        world.git("update-ref", "refs/goldentree/removed/old", tip)
        shutil.rmtree(world.there)
        refuses(world.nothing_lost, "no branch holds the commits")
        world.git("update-ref", "refs/remotes/fork/b", tip)
        world.nothing_lost()

    def test_what_cannot_be_told(self, world, tmp_path):
        """A worktree that git cannot read, or not all of it, is not taken for clean."""
        # Longer than the paths that the kernel takes (PATH_MAX), so that not even root can open it.
        folder = os.open(world.there, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=folder)
            inner = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.close(os.open("note", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.close(folder)
        refuses(world.nothing_lost, "cannot determine whether", "could not open directory")
        shutil.rmtree(world.there / ("d" * 250))
        index = world.main / ".git" / "worktrees" / "app-a" / "index"
        index.write_bytes(b"garbage")
        refuses(world.nothing_lost, "cannot determine whether", "index file")
        (world.there / ".git").write_text("gitdir: /nowhere\n")
        refuses(world.nothing_lost, "cannot determine whether", "not a git repository")

    def test_submodules(self, world):
        """Changes in them count, also where git is told to ignore them; commits and stashes count until pushed."""
        library, inner = world.repository("library"), world.repository("inner")
        world.git("submodule", "--quiet", "add", inner, "inner", cwd=library)
        world.git("commit", "--quiet", "--message", "Inner", cwd=library)
        world.git("submodule", "--quiet", "add", library, "libs/é", cwd=world.there)
        world.git("config", "--file", ".gitmodules", "submodule.libs/é.ignore", "all", cwd=world.there)
        world.git("add", "--all", cwd=world.there)
        world.git("commit", "--quiet", "--message", "Library", cwd=world.there)
        world.nothing_lost()
        module = world.there / "libs" / "é"
        (module / "inner" / "note").write_text("hidden")
        refuses(world.nothing_lost, "cannot determine whether", "is not initialised, but holds files")
        (module / "inner" / "note").unlink()
        world.git("submodule", "--quiet", "update", "--init", "--recursive", cwd=module)
        world.nothing_lost()
        (module / "file").write_text("changed")
        (module / "inner" / "note").write_text("new")
        refuses(world.nothing_lost, " M libs/é/file", "?? libs/é/inner/note")
        (module / "inner" / "note").unlink()
        world.git("stash", cwd=module)
        refuses(world.nothing_lost, "submodule libs/é in", "commits or stashes")
        world.git("stash", "drop", cwd=module)
        world.nothing_lost()
        world.git("switch", "--quiet", "-c", "work", cwd=module)
        world.commit("unpushed", cwd=module)
        refuses(world.nothing_lost, " M libs/é")
        world.git("switch", "--quiet", "--detach", "HEAD~1", cwd=module)
        refuses(world.nothing_lost, "submodule libs/é in", "commits or stashes")
        world.git("push", "--quiet", "origin", "work", cwd=module)
        world.nothing_lost()


class TestMerged:
    def test_where_commits_may_be(self, world):
        """In the default branch here or on any remote, or pushed under their own name; a gone upstream is no place."""
        world.merged()
        tip = world.commit("precious")
        world.git("config", "branch.a.remote", "origin")
        world.git("config", "branch.a.merge", "refs/heads/a")
        refuses(world.merged, "neither in `main` nor pushed", "precious")
        for reference in ("refs/remotes/fork/a", "refs/remotes/upstream/main"):
            world.git("update-ref", reference, tip)
            world.merged()
            world.git("update-ref", "-d", reference)
        for reference in ("refs/remotes/fork/b", "refs/remotes/fork/a/b", "refs/heads/other"):
            world.git("update-ref", reference, tip)
            refuses(world.merged, "neither in `main` nor pushed")
            world.git("update-ref", "-d", reference)

    def test_squashed(self, world):
        """A branch that was squashed is merged; one commit more, and it is not."""
        world.commit("one")
        world.commit("two")
        world.git("merge", "--quiet", "--squash", "a")
        world.git("commit", "--quiet", "--message", "Squashed")
        world.merged()
        world.commit("three")
        refuses(world.merged, "three")
