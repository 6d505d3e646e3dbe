"""A merge completes, wherever the base branch is checked out, or changes nothing."""

from __future__ import annotations

import subprocess

import pytest

from tasks_lib.errors import BranchError, GitError, WorktreeError
from tasks_lib.git.diff import ChangedFile, diff_since
from tasks_lib.git.repository import Repository, list_worktrees
from tasks_lib.settings import load
from tasks_lib.worktrees.plans.merge import find_conflicts, merge_branch
from tasks_lib.worktrees.project import Project


class World:
    """A repository with `main` in its main worktree, and a linked worktree of branch `a`, which has a commit."""

    def __init__(self, folder):
        self.main, self.there = folder / "app", folder / "app-a"
        self.main.mkdir()
        self.git("init", "--quiet")
        self.commit("Start", file="first\n", **{".gitignore": "ignored\n"})
        self.git("worktree", "add", "--quiet", "-b", "a", self.there)
        self.commit("Work", cwd=self.there, new="a's\n")

    def git(self, *arguments, cwd=None, check=True):
        return subprocess.run(
            ["git", *map(str, arguments)], cwd=cwd or self.main, check=check, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, message, cwd=None, **files):
        for name, text in files.items():
            ((cwd or self.main) / name).write_text(text)
        self.git("add", "--all", "--force", cwd=cwd)
        self.git("commit", "--quiet", "--message", message, cwd=cwd)
        return self.git("rev-parse", "HEAD", cwd=cwd)

    def merge(self, base="main"):
        repository = Repository.find(self.main)
        return merge_branch(Project(repository, load(self.main, {}, {})), "a", base, message="Merge it\n\nall of it")

    def conflicts(self):
        return find_conflicts(Project(Repository.find(self.main), load(self.main, {}, {})), "a", "main")

    def state(self):
        """Return everything that a failed merge must leave unchanged."""
        places = (self.main, self.there)
        files = {
            file: file.read_bytes()
            for place in places
            for file in place.rglob("*")
            if file.is_file() and ".git" not in file.relative_to(place).parts
        }
        staged = [self.git("diff", "--cached", "--raw", cwd=place) for place in places]
        status = [self.git("status", "--porcelain=v2", "--branch", "--ignored", cwd=place) for place in places]
        asides = [self.git("worktree", "list", "--porcelain"), [*(self.main / ".git").glob("rr-cache/*")]]
        return self.git("for-each-ref"), files, staged, status, asides, self.git("config", "--list", "--local")

    def refuses(self, error, match, base="main"):
        before = self.state()
        with pytest.raises(error, match=match):
            self.merge(base)
        assert self.state() == before


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_merge_updates_the_worktree_of_the_base(world):
    """A fast-forward or a merge commit updates branch, index and files; untracked files stay."""
    (world.main / "mine").write_text("untracked")
    assert world.merge() == []
    assert world.git("rev-parse", "main") == world.git("rev-parse", "a")
    assert (world.main / "new").read_text() == "a's\n"
    world.commit("More", cwd=world.there, new="more of a's\n")
    world.git("rm", "--cached", "--quiet", "--ignore-unmatch", "mine")
    (world.main / "file").write_text("second\n")
    world.git("commit", "--quiet", "--all", "--message", "Moved on")
    before = world.git("rev-parse", "main")
    assert world.merge() == []
    assert world.git("log", "-1", "--format=%B", "main") == "Merge it\n\nall of it"
    assert world.git("rev-parse", "main^1", "main^2").splitlines() == [before, world.git("rev-parse", "a")]
    assert [(world.main / name).read_text() for name in ("file", "new")] == ["second\n", "more of a's\n"]
    assert world.git("status", "--porcelain") == "?? mine"
    assert len(list_worktrees(world.main)) == 2
    assert world.merge() == []
    assert world.git("rev-parse", "main^1") == before


def test_merge_moves_a_base_that_is_not_checked_out(world):
    """Worktrees with other branches and uncommitted changes are not touched."""
    world.git("switch", "--quiet", "--create", "other")
    (world.main / "file").write_text("in use")
    tip = world.git("rev-parse", "a")
    before = world.state()
    assert world.merge() == []
    after = world.state()
    assert after[1:] == before[1:]
    assert world.git("rev-parse", "main") == tip
    assert "merge: " in world.git("reflog", "-1", "main")


def test_a_conflict_changes_nothing(world):
    """The conflicting files are returned, whatever git's settings on conflicts; also by `find_conflicts`."""
    world.git("config", "rerere.enabled", "true")
    world.git("config", "merge.autoStash", "true")
    for name, cwd in (("ours", world.main), ("theirs", world.there)):
        world.commit(name, cwd=cwd, file=f"{name}\n", zwölf=f"{name}\n")
    before = world.state()
    assert world.merge() == ["file", "zwölf"]
    assert world.state() == before
    assert world.conflicts() == ["file", "zwölf"]
    assert world.state() == before
    world.git("merge", "--strategy-option=ours", "main", cwd=world.there)
    before = world.state()
    assert world.conflicts() == []
    assert world.state() == before
    assert world.merge() == []


def test_uncommitted_work_in_the_base_is_refused(world):
    """Uncommitted changes count, and untracked or ignored files that would be overwritten."""
    world.commit("More", cwd=world.there, file="a's\n", ignored="a's\n")
    (world.main / "file").write_text("in use\n")
    world.refuses(WorktreeError, "`main` is checked out at .*with uncommitted changes(?s:.*) M file")
    world.git("add", "file")
    world.refuses(WorktreeError, "M  file")
    world.git("stash")
    (world.main / "new").write_text("mine\n")
    world.refuses(GitError, "untracked working tree files would be overwritten")
    (world.main / "new").unlink()
    (world.main / "ignored").write_text("secret\n")
    world.refuses(GitError, "untracked working tree files would be overwritten")
    (world.main / "ignored").unlink()
    assert world.merge() == []


def test_base_that_is_being_rebased_is_refused(world):
    """Its worktree has HEAD detached, and would find the branch moved at the end of the rebase."""
    world.git("branch", "upstream")
    world.commit("Mine", file="mine\n")
    world.git("switch", "--quiet", "upstream")
    world.commit("Theirs", file="theirs\n")
    world.git("switch", "--quiet", "main")
    world.git("rebase", "upstream", check=False)
    world.refuses(WorktreeError, "`main` is being rebased in")


def test_missing_branches_are_refused(world):
    """Deleted, or never created."""
    world.refuses(BranchError, "branch `absent` does not exist", base="absent")
    world.git("worktree", "remove", world.there)
    world.git("branch", "--delete", "--force", "a")
    with pytest.raises(BranchError, match="branch `a` does not exist"):
        world.merge()


def test_merge_respects_hooks_and_settings(world):
    """The user's hooks and `merge.ff` apply, and a refusal shows their output."""
    world.commit("Moved on", file="second\n")
    hook = world.main / ".git/hooks/pre-merge-commit"
    hook.write_text("#!/bin/sh\necho closed on fridays >&2\nexit 1\n")
    hook.chmod(0o755)
    world.refuses(GitError, "closed on fridays")
    assert world.conflicts() == []
    hook.unlink()
    world.git("config", "merge.ff", "only")
    world.refuses(GitError, "(?i)not possible to fast-forward")
    world.git("config", "merge.ff", "false")
    checkout = world.main / ".git/hooks/post-checkout"
    checkout.write_text("#!/bin/sh\necho ran > ran\nexit 1\n")
    checkout.chmod(0o755)
    assert world.merge() == []
    assert len(world.git("rev-list", "--no-walk", "--parents", "main").split()) == 3


def test_base_that_moves_during_a_merge_is_refused(world):
    """A concurrent commit is not lost; the next merge works."""
    hook = world.main / ".git/hooks/pre-merge-commit"
    world.commit("Moved on", file="second\n")
    world.git("switch", "--quiet", "--detach")
    commit = f"$(git -C {world.main} commit-tree -p main -m Concurrent main^{{tree}})"
    hook.write_text(f"#!/bin/sh\ngit -C {world.main} update-ref refs/heads/main {commit}\n")
    hook.chmod(0o755)
    with pytest.raises(GitError, match="cannot lock ref"):
        world.merge()
    assert world.git("log", "-1", "--format=%s", "main") == "Concurrent"
    hook.unlink()
    assert world.merge() == []
    assert world.git("log", "--first-parent", "--format=%s", "main").splitlines()[:3] == [
        "Merge it",
        "Concurrent",
        "Moved on",
    ]


def test_diff_starts_where_the_branches_parted(world):
    """It includes uncommitted, untracked and binary files, and ignores the user's diff settings."""
    world.git("config", "diff.noprefix", "true")
    world.commit("Moved on", file="second\n")
    repository = Repository.find(world.main)
    with diff_since(repository, "main", "a") as found:
        assert found.files() == [ChangedFile("new", 1, 0)]
    (world.there / "zwölf").write_text("not committed\n")
    (world.there / "latin").write_bytes(b"caf\xe9\n")
    (world.there / "binary").write_bytes(bytes(range(256)))
    status = world.git("status", "--porcelain", cwd=world.there)
    rows = [
        ChangedFile("binary", None, None),
        ChangedFile("latin", 1, 0),
        ChangedFile("new", 1, 0),
        ChangedFile("zwölf", 1, 0),
    ]
    objects = sorted((repository.common / "objects").rglob("*"))
    with diff_since(repository, "main", "a", world.there) as found:
        assert found.files() == rows
        assert "+++ b/zwölf\n@@ -0,0 +1 @@\n+not committed" in found.patch()
        assert "+caf\udce9\n" in found.patch()
        assert "4 files changed" in found.stat()
    assert sorted((repository.common / "objects").rglob("*")) == objects
    assert world.git("status", "--porcelain", cwd=world.there) == status
    with pytest.raises(BranchError, match="`absent`"), diff_since(repository, "absent", "a"):
        pass
