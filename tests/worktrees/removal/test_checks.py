"""The checks before a removal find every kind of work, and refuse when git cannot answer."""

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
        entry = next(row for row in rows if row.path == self.there)
        return entry, [row for row in rows if row.path != self.there]

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
    """Assert that *check* refuses with all of *words*, and return the message."""
    with pytest.raises(WorktreeError) as raised:
        check(**options)
    said = str(raised.value)
    assert all(word in said for word in words), said
    return said


class TestRemovable:
    def test_linked_worktree_is_removable(self, world):
        """A worktree of which nothing is special passes."""
        world.removable()

    def test_main_worktree_is_never_removable(self, world):
        """The main worktree is the repository itself."""
        main = list_worktrees(world.main)[0]
        with pytest.raises(WorktreeError, match="is the main worktree"):
            checks.require_removable(world.project(), main, [])

    def test_current_directory_within_is_refused(self, world, monkeypatch):
        """The shell would be left in a directory that no longer exists."""
        monkeypatch.chdir(world.there)
        refuses(world.removable, "the current directory is in")

    def test_worktree_within_a_worktree_is_refused(self, world):
        """The inner worktree would be deleted with the outer one."""
        world.git("worktree", "add", "--quiet", "--detach", world.there / "inner")
        refuses(world.removable, f"contains the worktree {world.there / 'inner'}")
        world.git("worktree", "remove", world.there / "inner")
        world.removable()

    def test_worktree_under_creation_is_refused(self, world):
        """Git locks a worktree while it creates it."""
        world.git("worktree", "lock", "--reason", "initializing", world.there)
        refuses(world.removable, "is being created", f"git worktree unlock {world.there}")
        world.git("worktree", "unlock", world.there)
        world.removable()

    def test_locked_worktree_is_refused(self, world):
        """A lock counts with and without the directory, which may be on an unmounted volume."""
        world.git("worktree", "lock", world.there)
        refuses(world.removable, "is locked")
        shutil.rmtree(world.there)
        refuses(world.removable, "is locked")
        world.git("worktree", "unlock", world.there)
        world.removable()

    def test_deleted_directory_is_removable(self, world):
        """Git still lists the worktree, and the removal unregisters it."""
        world.there.rename(world.folder / "away")
        world.removable()

    @pytest.mark.parametrize("place", ["file", "directory", "broken pointer", "clone"])
    def test_something_else_at_the_path_is_refused(self, world, place):
        """A removal would delete what has taken the worktree's place."""
        world.there.rename(world.folder / "away")
        if place == "file":
            world.there.write_text("a file")
        elif place == "clone":
            world.git("clone", "--quiet", world.main, world.there)
        else:
            world.there.mkdir()
        if place == "broken pointer":
            (world.there / ".git").write_text("gitdir: /nowhere\n")
        refuses(world.removable, "cannot determine whether")

    def test_copy_of_a_sibling_at_the_path_is_refused(self, world):
        """A copy of another worktree points to that one's administrative directory, which does not point back."""
        away = world.there.rename(world.folder / "away")
        world.git("worktree", "add", "--quiet", "-b", "b", world.folder / "b")
        shutil.copytree(world.folder / "b", world.there)
        refuses(world.removable, "its .git points to", "worktrees/b")
        shutil.rmtree(world.there)
        away.rename(world.there)
        world.removable()

    def test_relative_pointers_are_followed(self, world):
        """With `worktree.useRelativePaths`, each pointer is relative to the directory of its file."""
        listed, others = world.rows()  # as a git that knows the setting lists it
        (world.there / ".git").write_text("gitdir: ../app/.git/worktrees/app-a\n")
        (world.main / ".git" / "worktrees" / "app-a" / "gitdir").write_text("../../../../app-a/.git\n")
        checks.require_removable(world.project(), listed, others)


class TestNothingLost:
    def test_changes_of_every_kind_are_listed(self, world):
        """Settings of `git status` hide nothing, control characters are escaped, and a long list is shortened."""
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

    def test_change_hidden_by_fsmonitor_is_found(self, world):
        """A file system monitor that reports no changes, as a dead one does, is not believed."""
        hook = world.folder / "monitor"
        hook.write_text("#!/bin/sh\nprintf 'token\\0'\n")
        hook.chmod(0o755)
        world.git("config", "core.fsmonitor", hook)
        world.git("update-index", "--fsmonitor", cwd=world.there)
        world.git("status", cwd=world.there)
        (world.there / "file").write_text("changed\n")
        assert world.git("status", "--porcelain", cwd=world.there) == ""
        refuses(world.nothing_lost, "holds 1 uncommitted change\n", " M file")

    def test_ignored_files_are_not_work(self, world):
        """A removal deletes ignored files."""
        (world.main / ".git" / "info" / "exclude").write_text("build\n")
        (world.there / "build").mkdir()
        (world.there / "build" / "out").write_text("")
        world.nothing_lost()

    def test_stashes_survive_a_removal(self, world):
        """A stash belongs to the repository, not to the worktree."""
        (world.there / "file").write_text("stashed")
        world.git("stash", cwd=world.there)
        world.nothing_lost()

    def test_copies_of_the_main_worktree_are_not_work(self, world):
        """Copies of the main worktree's files, and links to them, can be deleted."""
        for place in (world.main, world.there):
            (place / "deep").mkdir()
            (place / "deep" / "seed.env").write_bytes(b"same\r\n")
            (place / "relative").symlink_to("deep/seed.env")
        (world.main / "modules").mkdir()
        (world.there / "modules").symlink_to(world.main / "modules")
        world.nothing_lost()
        (world.there / "deep" / "seed.env").write_bytes(b"mine, longer\r\n")
        refuses(world.nothing_lost, "?? deep/seed.env")

    def test_changed_copy_of_equal_size_and_time_is_work(self, world):
        """The content decides, not size and modification time, which `cp -p` and an editor can leave equal."""
        for place, content in ((world.main, b"same"), (world.there, b"mine")):
            (place / "seed.env").write_bytes(content)
            os.utime(place / "seed.env", (1_000_000_000, 1_000_000_000))
        refuses(world.nothing_lost, "?? seed.env")

    def test_dangling_link_is_work(self, world):
        """A link to a file that the main worktree lacks is not a copy of anything."""
        (world.there / "dangling").symlink_to(world.main / "dangling")
        refuses(world.nothing_lost, "?? dangling")

    def test_named_files_are_not_work(self, world):
        """The caller can name files that it has written itself."""
        (world.there / "written").write_text("by us")
        refuses(world.nothing_lost, "holds 1 uncommitted change\n", "?? written")
        world.nothing_lost(not_work={"written"})

    @pytest.mark.parametrize(
        ("what", "commands"),
        [
            ("a merge", ["merge --no-commit --no-ff b"]),
            ("a rebase", ["rebase --exec false HEAD~1"]),
            ("a cherry-pick", ["commit --quiet --amend --allow-empty -m x", "cherry-pick c"]),
            ("a bisection", ["bisect start"]),
        ],
    )
    def test_operation_in_progress_is_work(self, world, what, commands):
        """An unfinished operation counts even if no file is changed."""
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

    def test_cherry_pick_between_two_commits_is_work(self, world):
        """After the first of several commits is resolved, only the sequencer knows of the others."""
        for text in ("one", "two"):
            world.commit(text)
        world.git("switch", "--quiet", "-c", "b", "main", cwd=world.there)
        world.commit("other")
        world.git("cherry-pick", "main..a", cwd=world.there, check=False)
        world.commit("resolved")
        administrative = world.main / ".git" / "worktrees" / "app-a"
        assert not (administrative / "CHERRY_PICK_HEAD").exists()
        assert world.git("status", "--porcelain", cwd=world.there) == ""
        refuses(world.nothing_lost, "a series of cherry-picks or reverts is in progress")

    def test_commits_on_no_branch_are_work(self, world):
        """Git would delete commits that no branch, tag or remote holds, even if the directory is gone."""
        world.git("switch", "--quiet", "--detach", cwd=world.there)
        world.nothing_lost()
        tip = world.commit("precious")
        refuses(world.nothing_lost, "no branch holds the commits", f"git branch BRANCH {tip}")
        world.git("update-ref", "refs/goldentree/removed/old", tip)
        shutil.rmtree(world.there)
        refuses(world.nothing_lost, "no branch holds the commits")
        world.git("update-ref", "refs/remotes/fork/b", tip)
        world.nothing_lost()

    def test_unreadable_directory_is_refused(self, world):
        """Git warns and skips what it cannot open."""
        # Longer than the kernel's limit for paths (PATH_MAX), so that not even root can open it.
        folder = os.open(world.there, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=folder)
            inner = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.close(os.open("note", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.close(folder)
        refuses(world.nothing_lost, "cannot determine whether", "could not open directory")

    def test_corrupt_index_is_refused(self, world):
        """An error of git is not read as "no changes"."""
        (world.main / ".git" / "worktrees" / "app-a" / "index").write_bytes(b"garbage")
        refuses(world.nothing_lost, "cannot determine whether", "index file")

    def test_broken_pointer_to_git_is_refused(self, world):
        """Without a repository, git cannot look for changes."""
        (world.there / ".git").write_text("gitdir: /nowhere\n")
        refuses(world.nothing_lost, "cannot determine whether", "not a git repository")

    @pytest.fixture
    def module(self, world):
        """Return a submodule that the settings tell git to ignore, with an initialised submodule `inner`."""
        library, inner = world.repository("library"), world.repository("inner")
        world.git("submodule", "--quiet", "add", inner, "inner", cwd=library)
        world.git("commit", "--quiet", "--message", "Inner", cwd=library)
        world.git("submodule", "--quiet", "add", library, "libs/é", cwd=world.there)
        world.git("config", "--file", ".gitmodules", "submodule.libs/é.ignore", "all", cwd=world.there)
        world.git("add", "--all", cwd=world.there)
        world.git("commit", "--quiet", "--message", "Library", cwd=world.there)
        module = world.there / "libs" / "é"
        world.git("submodule", "--quiet", "update", "--init", "--recursive", cwd=module)
        world.nothing_lost()
        return module

    def test_changes_in_submodules_are_work(self, world, module):
        """Changes count at every depth, even if git's settings ignore the submodule."""
        (module / "file").write_text("changed")
        (module / "inner" / "note").write_text("new")
        refuses(world.nothing_lost, " M libs/é/file", "?? libs/é/inner/note")

    def test_files_in_an_uninitialised_submodule_are_refused(self, world, module):
        """Git does not list them."""
        world.git("submodule", "--quiet", "deinit", "inner", cwd=module)
        world.nothing_lost()
        (module / "inner" / "note").write_text("hidden")
        refuses(world.nothing_lost, "cannot determine whether", "is not initialised, but holds files")

    def test_stash_in_a_submodule_is_work(self, world, module):
        """A stash of a submodule is deleted with its repository."""
        (module / "file").write_text("changed")
        world.git("stash", cwd=module)
        refuses(world.nothing_lost, "submodule libs/é in", "commits or stashes")
        world.git("stash", "drop", cwd=module)
        world.nothing_lost()

    def test_unpushed_commits_in_a_submodule_are_work(self, world, module):
        """Commits count, checked out or not, until they are pushed."""
        world.git("switch", "--quiet", "-c", "work", cwd=module)
        world.commit("unpushed", cwd=module)
        refuses(world.nothing_lost, " M libs/é")
        world.git("switch", "--quiet", "--detach", "HEAD~1", cwd=module)
        refuses(world.nothing_lost, "submodule libs/é in", "commits or stashes")
        world.git("push", "--quiet", "origin", "work", cwd=module)
        world.nothing_lost()


class TestMerged:
    def test_pushed_commits_are_safe(self, world):
        """Commits are safe in a remote's default branch or branch of the same name, and nowhere else."""
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

    def test_squashed_branch_counts_as_merged(self, world):
        """A squashed branch is merged until it gets another commit."""
        world.commit("one")
        world.commit("two")
        world.git("merge", "--quiet", "--squash", "a")
        world.git("commit", "--quiet", "--message", "Squashed")
        world.merged()
        world.commit("three")
        refuses(world.merged, "three")
