"""git, and the repository around a directory."""

from __future__ import annotations

import subprocess
import threading

import pytest

from tasks_lib.errors import GitError
from tasks_lib.git.cli import git_environment, git_succeeds, run_git
from tasks_lib.git.repository import Repository, list_worktrees


@pytest.fixture
def path(tmp_path):
    path = (tmp_path / "app").resolve()
    subprocess.run(["git", "init", "--quiet", path], check=True)
    subprocess.run(["git", "-C", path, "commit", "--quiet", "--allow-empty", "--message", "Start"], check=True)
    return path


def test_git_inherits_settings_but_no_repository(monkeypatch):
    """What points git at a repository is scrubbed, what configures it stays, and its words are English."""
    gone = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_CONFIG_PARAMETERS", "GIT_PREFIX")
    kept = ("GIT_SSH_COMMAND", "GIT_AUTHOR_NAME", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0")
    for name in (*gone, *kept):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LANGUAGE", "de")
    found = git_environment()
    assert not found.keys() & set(gone)
    assert found.keys() >= set(kept)
    assert found["LANGUAGE"] == ""
    # Whatever git itself counts as local to a repository, except configuration, is scrubbed.
    local = subprocess.run(["git", "rev-parse", "--local-env-vars"], check=True, capture_output=True, text=True)
    assert not found.keys() & set(local.stdout.split()) - {"GIT_CONFIG_COUNT"}


def test_from_everywhere_in_it(path):
    """A subfolder and a linked worktree, under any name, belong to the same repository."""
    (path / "a" / "b").mkdir(parents=True)
    run_git("worktree", "add", "--detach", path.parent / "linked", cwd=path)
    inside = Repository.find(path / "a" / "b")
    linked = Repository.find(path.parent / "linked")
    assert (inside.main, inside.current, inside.linked) == (path, path, False)
    assert (linked.main, linked.current, linked.linked) == (path, path.parent / "linked", True)
    assert linked.common == inside.common == path / ".git"
    (path.parent / "alias").symlink_to(path.parent / "linked")
    assert Repository.find(path.parent / "alias") == linked


def test_a_separate_git_directory(path, tmp_path):
    """The git directory would be taken for the main worktree; that is refused."""
    run_git("init", "--separate-git-dir", tmp_path / "elsewhere", cwd=path)
    with pytest.raises(GitError, match="cannot be found"):
        Repository.find(path)


def test_default_branch_follows_origin_head(path):
    """The HEAD of origin decides, even if a branch `main` exists."""
    repository = Repository.find(path)
    assert repository.default_branch() == "main"
    run_git("update-ref", "refs/remotes/origin/develop", "HEAD", cwd=path)
    run_git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/develop", cwd=path)
    assert repository.default_branch() == "develop"


def test_default_branch_without_origin_is_the_current_one(path):
    """The branch of the main worktree is the default if no branch has a usual name."""
    run_git("branch", "--move", "trunk", cwd=path)
    assert Repository.find(path).default_branch() == "trunk"


def test_default_branch_of_detached_head_is_unknown(path):
    """Without origin, a usual name and a current branch, the default branch is not guessed."""
    run_git("branch", "--move", "trunk", cwd=path)
    run_git("checkout", "--detach", cwd=path)
    with pytest.raises(GitError, match="default branch is unknown"):
        Repository.find(path).default_branch()


def test_a_question_that_fails_is_not_a_no(path):
    """Exit status 128 is an error, not 1."""
    with pytest.raises(GitError, match="128"):
        git_succeeds("merge-base", "--is-ancestor", "nowhere", "HEAD", cwd=path)


def test_a_worktree_that_is_just_being_made(path, tmp_path):
    """What git dies of while another process writes a worktree's files is waited for; what stays so is an error."""
    subprocess.run(["git", "-C", path, "worktree", "add", "--quiet", tmp_path / "a", "-b", "a"], check=True)
    common = path / ".git/worktrees/a/commondir"
    content = common.read_text()
    common.write_text("")
    timer = threading.Timer(0.15, lambda: common.write_text(content))
    timer.start()

    assert [row.branch for row in list_worktrees(path)] == ["main", "a"]
    timer.join()
    common.write_text("")
    with pytest.raises(GitError, match="git worktree failed"):
        list_worktrees(path)
