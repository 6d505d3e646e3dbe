"""Which branch a worktree gets and where a new one starts, with real remotes."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tasks_lib.errors import BranchError
from tasks_lib.git.remotes import Tracking, find_default_branch
from tasks_lib.git.repository import Repository
from tasks_lib.git.start import BranchName, find_base_branch, find_start, read_branch_name


class Clone:
    """A repository with a commit on `main`, and bare remotes that know it."""

    def __init__(self, folder, *remotes):
        self.folder, self.path = folder, folder / "app"
        self.git("init", "--quiet", self.path, cwd=folder)
        self.commit("Start")
        for remote in remotes:
            self.git("clone", "--quiet", "--bare", self.path, folder / f"{remote}.git")
            self.git("remote", "add", remote, folder / f"{remote}.git")
            self.git("fetch", "--quiet", remote)

    def git(self, *words, cwd=None):
        done = subprocess.run(
            ["git", *map(str, words)], cwd=cwd or self.path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message):
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def push(self, remote, branch, message=None, base="main"):
        """Push a new commit on *base* as *branch* to *remote*, fetch it, and return it; nothing changes here."""
        commit = self.git("commit-tree", "-p", base, "-m", message or branch, f"{base}^{{tree}}")
        self.git("push", "--quiet", self.folder / f"{remote}.git", f"{commit}:refs/heads/{branch}")
        self.git("fetch", "--quiet", remote)
        return commit

    @property
    def repository(self):
        return Repository.find(self.path)

    def start(self, name, base="", default=None):
        return find_start(self.repository, read_branch_name(self.repository, name), base=base, default=default)


@pytest.fixture
def clone(tmp_path):
    return lambda *remotes: Clone(tmp_path.resolve(), *remotes)


def test_a_branch_of_one_remote_of_any_name_is_tracked(clone):
    """Its remote need not be called `origin`, and its name may contain a slash."""
    app = clone("up/stream")
    theirs = app.push("up/stream", "feature/x")
    for name in ("feature/x", "up/stream/feature/x", "refs/remotes/up/stream/feature/x"):
        found = app.start(name)
        assert (found.commit, found.source) == (theirs, "up/stream/feature/x")
        assert found.tracking == Tracking("up/stream", "refs/heads/feature/x")
        assert read_branch_name(app.repository, name).local == "feature/x"


def test_a_branch_of_several_remotes_is_refused_until_one_is_named(clone):
    """`checkout.defaultRemote` decides, or the name of the remote."""
    app = clone("origin", "fork")
    theirs = {remote: app.push(remote, "feature", remote) for remote in ("origin", "fork")}
    with pytest.raises(BranchError, match="several remotes") as refusal:
        app.start("feature")
    assert "fork/feature" in refusal.value.why
    assert "origin/feature" in refusal.value.why
    assert app.start("fork/feature").commit == theirs["fork"]
    app.git("config", "checkout.defaultRemote", "fork")
    assert app.start("feature").commit == theirs["fork"]


def test_a_local_branch_is_not_taken_for_that_of_another_remote(clone):
    """Unless it tracks that, or is at the same commit."""
    app = clone("origin", "fork")
    theirs = app.push("fork", "feature")
    app.git("branch", "feature")
    with pytest.raises(BranchError, match="is not `fork/feature`") as refusal:
        app.start("fork/feature")
    *_, name, _, base = refusal.value.hint.split()
    assert app.start(name, base=base).commit == theirs
    app.git("branch", "--quiet", "--set-upstream-to", "fork/feature", "feature")
    assert app.start("fork/feature").commit is None
    assert app.start("fork/feature").remark.startswith("1 commit behind fork/feature")


def test_a_new_branch_starts_where_the_default_branch_is_newest(clone):
    """The remote's, if it contains the local one, and the other way round; the remark says how far apart they are."""
    app = clone("origin")
    ours = app.git("rev-parse", "main")
    theirs = app.push("origin", "main")
    found = app.start("new")
    assert (found.commit, found.source, found.tracking) == (theirs, "origin/main", None)
    assert "1 commit ahead of main, as of the last fetch" in found.remark
    # What the user names is taken as it is, and the remark says what it lacks.
    found = app.start("new", base="main")
    assert (found.commit, found.source) == (ours, "main")
    assert "1 commit behind origin/main" in found.remark
    app.git("merge", "--quiet", "--ff-only", "origin/main")
    ahead = app.commit("Ours")
    assert app.start("new").commit == ahead
    assert "1 commit ahead of origin/main" in app.start("new").remark


def test_a_default_branch_that_has_diverged_is_refused(clone):
    """Either of the two lines of the hint decides."""
    app = clone("origin")
    theirs = app.push("origin", "main")
    ours = app.commit("Ours")
    with pytest.raises(BranchError, match="have diverged") as refusal:
        app.start("new")
    bases = [line.rpartition(" ")[2] for line in refusal.value.hint.splitlines()[1:]]
    assert [app.start("new", base=base).commit for base in bases] == [ours, theirs]


def test_the_configured_base_counts_instead_of_the_default_branch(clone):
    """It may be a local branch, a remote one, or one that only a remote has."""
    app = clone("origin")
    theirs = app.push("origin", "develop")
    for base in ("develop", "origin/develop"):
        assert app.start("new", default=base).commit == theirs
        assert find_base_branch(app.repository, base) == "develop"
    app.git("branch", "develop", "main")
    assert app.start("new", default="develop").commit == theirs
    with pytest.raises(BranchError, match=r"worktree\.base"):
        find_base_branch(app.repository, "nowhere")


def test_the_default_branch_of_another_remote_is_known(clone):
    """By its HEAD, or by name; the upstream remote of the current branch decides among several."""
    app = clone("upstream", "fork")
    app.push("upstream", "trunk")
    app.git("symbolic-ref", "refs/remotes/upstream/HEAD", "refs/remotes/upstream/trunk")
    app.git("switch", "--quiet", "--create", "wip")
    app.git("branch", "--quiet", "--delete", "main")
    app.git("remote", "remove", "fork")
    assert find_default_branch(app.repository) == "trunk"
    app.git("remote", "add", "fork", app.folder / "fork.git")
    app.git("branch", "--quiet", "--set-upstream-to", "upstream/main")
    assert find_default_branch(app.repository) == "trunk"
    app.git("fetch", "--quiet", "fork")
    app.git("config", "checkout.defaultRemote", "fork")
    assert find_default_branch(app.repository) == "main"
    app.git("config", "--unset", "checkout.defaultRemote")
    # A HEAD whose branch the remote has deleted names nothing.
    app.git("update-ref", "-d", "refs/remotes/upstream/trunk")
    assert find_default_branch(app.repository) == "main"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v1", "is a tag, not a branch"),
        ("refs/tags/v1", "is not a branch"),
        ("origin/gone", "remote branch `origin/gone` does not exist"),
    ],
)
def test_names_that_are_no_branches_are_refused(clone, name, said):
    """Rather than turned into a branch that git commands would take for something else."""
    app = clone("origin")
    app.git("tag", "v1")
    with pytest.raises(BranchError, match=said):
        app.start(name)


def test_names_mean_what_they_mean_to_git(clone):
    """A full name is a branch; an existing branch wins over remotes and tags; a base may be both branch and tag."""
    app = clone("origin")
    app.push("origin", "both")
    assert read_branch_name(app.repository, "refs/heads/origin/x") == BranchName("origin/x")
    app.git("tag", "both")
    older = app.git("rev-parse", "main")
    newer = app.commit("Later")
    app.git("branch", "both")
    assert app.start("both").commit is None
    found = app.start("new", base="both")
    assert (found.commit, "not the tag (--base tags/both)" in found.remark) == (newer, True)
    assert app.start("new", base="tags/both").commit == older
    app.git("worktree", "add", "--quiet", "--detach", app.folder / "linked", older)
    linked = Repository.find(app.folder / "linked")
    assert find_start(linked, BranchName("new"), base="HEAD", default=None).commit == older


def test_the_last_fetch_is_dated(clone):
    """By the newest FETCH_HEAD of any worktree."""
    app = clone("origin")
    app.push("origin", "feature")
    before = time.time() - 3 * 3600
    os.utime(app.path / ".git/FETCH_HEAD", (before, before))
    assert app.start("feature").remark == "as of the last fetch, 3 h ago"
