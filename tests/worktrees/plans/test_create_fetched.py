"""`worktree.create --fetch` and `--pr`, with real remotes."""

from __future__ import annotations

import pytest


class Remote:
    """A bare remote of a repository, which other people push to."""

    def __init__(self, repository, name):
        self.repository, self.path = repository, repository.path.with_name(f"{name}.git")
        repository.git("clone", "--quiet", "--bare", repository.path, self.path)
        repository.git("remote", "add", name, self.path)
        repository.git("fetch", "--quiet", name)

    def push(self, ref, base="main"):
        """Move *ref* to a new commit that only the remote has, and return that."""
        commit = self.repository.git("commit-tree", "-p", base, "-m", ref, f"{base}^{{tree}}", cwd=self.path)
        self.repository.git("update-ref", ref, commit, cwd=self.path)
        return commit


@pytest.fixture
def origin(repository):
    return Remote(repository, "origin")


def test_fetch_brings_the_newest_base(repository, origin):
    """A dry run does not fetch, and says so."""
    theirs = origin.push("refs/heads/main")
    refs = repository.git("for-each-ref")
    shown = repository.inv("-R", "worktree.create", "a", "--fetch", "--no-db")
    assert "would fetch all remotes" in shown.stdout
    assert repository.git("for-each-ref") == refs
    assert (
        not (repository.path / ".git/FETCH_HEAD").exists()
        or theirs not in (repository.path / ".git/FETCH_HEAD").read_text()
    )
    assert repository.json("worktree.create", "a", "--fetch", "--no-db")["base"] == theirs
    assert repository.git("rev-parse", "a") == theirs


def test_fetch_from_a_remote_that_cannot_be_reached_is_refused(repository, origin):
    """Git's reason is quoted, and no password is asked for."""
    repository.git("remote", "set-url", "origin", origin.path.with_name("gone.git"))
    said = repository.refuses("worktree.create", "a", "--fetch")
    assert "gone.git" in said
    assert "leave --fetch out" in said


@pytest.mark.parametrize("ref", ["refs/pull/7/head", "refs/merge-requests/7/head"])
def test_pull_request_is_checked_out_and_pulled_later(repository, origin, ref):
    """As `pr-7`, of GitHub or GitLab; a second time says how to get later commits. It is removed without --force."""
    theirs = origin.push(ref)
    shown = repository.inv("-R", "worktree.create", "--pr", "7", "--no-db")
    assert f"check out pr-7 at {repository.worktree('pr-7')}" in shown.stdout, shown.stderr
    assert "7 of origin" in shown.stderr
    created = repository.json("worktree.create", "--pr", "7", "--no-db")
    assert (created["branch"], created["base"]) == ("pr-7", theirs)
    assert created["tracks"] == {"remote": "origin", "ref": ref}
    repository.commit("Ours", cwd=repository.worktree("pr-7"))
    assert "nor pushed" in repository.refuses("worktree.remove", "pr-7")
    repository.git("reset", "--quiet", "--hard", "HEAD~1", cwd=repository.worktree("pr-7"))
    repository.json("worktree.remove", "pr-7")
    repository.json("worktree.undo")
    later = origin.push(ref, theirs)
    said = repository.refuses("worktree.create", "--pr", "7")
    assert "branch `pr-7` exists already" in said
    command = said.splitlines()[-1].split()
    repository.git(*command[1:])
    assert repository.git("rev-parse", "pr-7") == later


def test_pull_request_of_no_remote_or_several_is_refused(repository, origin):
    """Nothing is guessed, also when a remote does not answer; the hint's command starts at the one that is meant."""
    assert "pull request 7 was not found" in repository.refuses("worktree.create", "--pr", "7")
    assert "is not the number" in repository.refuses("worktree.create", "--pr", "seven")
    theirs = origin.push("refs/pull/7/head")
    fork = Remote(repository, "fork")
    fork.push("refs/pull/7/head")
    said = repository.refuses("worktree.create", "mine", "--pr", "7", "--no-db")
    assert "several remotes" in said
    fetch, create = said.splitlines()[-1].strip().split(" && ")
    order = ["fork", "origin"] if " fork " in fetch else ["origin", "fork"]
    repository.git(*fetch.split()[1:])
    repository.json(*create.split()[1:], "--no-db")
    assert (repository.git("rev-parse", "mine") == theirs) == (order[0] == "origin")
    repository.git("remote", "set-url", "fork", fork.path.with_name("gone.git"))
    assert "gone.git" in repository.refuses("worktree.create", "--pr", "7")
