"""git, and the repository around a directory."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tasks_lib.errors import GitError
from tasks_lib.git import cli, repository
from tasks_lib.git.cli import git_environment, git_succeeds, read_git, run_git, transfer
from tasks_lib.git.remotes import find_default_branch
from tasks_lib.git.repository import Repository, list_worktrees


@pytest.fixture
def path(tmp_path):
    path = (tmp_path / "app").resolve()
    subprocess.run(["git", "init", "--quiet", path], check=True)
    subprocess.run(["git", "-C", path, "commit", "--quiet", "--allow-empty", "--message", "Start"], check=True)
    return path


def test_git_inherits_settings_but_no_repository(monkeypatch):
    """What git counts as local to a repository is scrubbed, all other settings stay, and git's words are English."""
    answer = subprocess.run(["git", "rev-parse", "--local-env-vars"], check=True, capture_output=True, text=True)
    local = set(answer.stdout.split()) - {"GIT_CONFIG_COUNT"}
    kept = {"GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_LFS_SKIP_SMUDGE", "GIT_HTTP_USER_AGENT"}
    for name in (*local, *kept, "GIT_DIFF_OPTS", "GIT_ICASE_PATHSPECS"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LANGUAGE", "de")
    found = git_environment()
    assert {name for name in found if name.startswith("GIT_")} >= kept
    assert not found.keys() & (local | {"GIT_DIFF_OPTS", "GIT_ICASE_PATHSPECS"})
    assert found["LANGUAGE"] == ""


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


def test_a_link_to_the_git_directory_beside_it(path):
    """A `.git` that is a link to `.git.nosync` hides neither the main worktree nor its linked ones."""
    (path / ".git").rename(path / ".git.nosync")
    (path / ".git").symlink_to(".git.nosync")
    run_git("worktree", "add", "--detach", path.parent / "linked", cwd=path)
    here, linked = Repository.find(path), Repository.find(path.parent / "linked")
    assert (here.main, here.linked, linked.main, linked.linked) == (path, False, path, True)
    assert [row.path for row in list_worktrees(path)] == [path, path.parent / "linked"]


@pytest.mark.parametrize("option", [[], ["--worktree"]])
def test_a_checkout_that_is_marked_as_bare(path, option):
    """The hint is the command that makes an ordinary clone of it again."""
    run_git("config", "extensions.worktreeConfig", "true", cwd=path)
    run_git("config", *option, "core.bare", "true", cwd=path)
    with pytest.raises(GitError, match="although it has a checkout") as refusal:
        Repository.find(path)
    subprocess.run(refusal.value.hint.splitlines()[-1], shell=True, check=True)
    assert Repository.find(path).main == path


@pytest.mark.parametrize("old", [False, True])
def test_paths_with_newlines_are_not_confused(path, monkeypatch, old):
    """A path with a newline is not taken for its first line; a git that cannot tell them apart is refused."""
    if old:
        answer = repository.run_git
        monkeypatch.setattr(repository, "run_git", lambda *words, **options: answer(*(_old(words)), **options))
    run_git("worktree", "add", "-b", "innocent", path.parent / "a", cwd=path)
    assert [row.path for row in list_worktrees(path)] == [path, path.parent / "a"]
    run_git("worktree", "add", "-b", "odd", path.parent / "a\nb", cwd=path)
    if old:
        with pytest.raises(GitError, match="contains a newline"):
            list_worktrees(path)
    else:
        assert {row.branch: row.path for row in list_worktrees(path)}["odd"] == path.parent / "a\nb"


def _old(words):
    """Return *words* as a git before 2.36 understands them: it does not know `-z` and exits with 129."""
    return [word.replace("-z", "--unknown") for word in words] if "worktree" in words else words


def test_default_branch_follows_origin_head(path):
    """The HEAD of origin decides, even if a branch `main` exists."""
    repository = Repository.find(path)
    assert find_default_branch(repository) == "main"
    run_git("remote", "add", "origin", path, cwd=path)
    run_git("update-ref", "refs/remotes/origin/develop", "HEAD", cwd=path)
    run_git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/develop", cwd=path)
    assert find_default_branch(repository) == "develop"


def test_default_branch_without_origin_is_the_current_one(path):
    """The branch of the main worktree is the default if no branch has a usual name."""
    run_git("branch", "--move", "trunk", cwd=path)
    assert find_default_branch(Repository.find(path)) == "trunk"


def test_default_branch_of_detached_head_is_unknown(path):
    """Without origin, a usual name and a current branch, the default branch is not guessed."""
    run_git("branch", "--move", "trunk", cwd=path)
    run_git("checkout", "--detach", cwd=path)
    with pytest.raises(GitError, match="default branch is unknown"):
        find_default_branch(Repository.find(path))


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


def test_configuration_that_another_program_is_changing(path):
    """Git does not wait for the lock of its configuration, so we do; a lock that stays is an error."""
    lock = path / ".git/config.lock"
    lock.touch()
    timer = threading.Timer(0.15, lock.unlink)
    timer.start()

    run_git("config", "a.b", "c", cwd=path)
    timer.join()
    assert read_git("config", "a.b", cwd=path) == "c"
    lock.touch()
    with pytest.raises(GitError, match="git config failed"):
        run_git("config", "a.b", "d", cwd=path)


class _Closed(BaseHTTPRequestHandler):
    """Answers every request with a demand for a password."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_remote_that_wants_a_password_is_an_error(path, monkeypatch, tmp_path):
    """No program is started that would ask for it."""
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    ask.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(ask))
    run_git("config", "core.askPass", ask, cwd=path)
    with HTTPServer(("127.0.0.1", 0), _Closed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(GitError, match="git ls-remote failed"):
            transfer("ls-remote", f"http://127.0.0.1:{server.server_port}/app.git", cwd=path)
        server.shutdown()
    assert not (tmp_path / "asked").exists()


def test_a_connection_that_ssh_keeps_open_is_not_waited_for(path, monkeypatch, tmp_path):
    """The last line that git printed is reported, and the reason of a failure is quoted."""
    pid = tmp_path / "pid"
    monkeypatch.setenv(
        "GIT_SSH_COMMAND",
        f"sleep 60 >/dev/null <&- & echo $! > {pid}; echo connecting >&2; sleep 1; echo closed >&2; :",
    )
    seen, started = [], time.monotonic()
    with pytest.raises(GitError) as failure:
        transfer("ls-remote", "ssh://127.0.0.1/app.git", cwd=path, report=seen.append)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert time.monotonic() - started < 30
    assert "connecting" in seen
    assert "closed" in failure.value.why


def test_a_remote_that_does_not_go_on_is_given_up(path, monkeypatch):
    """Also if a program that git runs ignores the signal to end."""
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")  # which git would else find out by running it
    monkeypatch.setenv("GIT_SSH_COMMAND", "trap '' TERM; echo connecting >&2; sleep 60; :")
    for name, seconds in {"SILENT_SECONDS": 0.5, "_REPORT_SECONDS": 0.05, "_GRACE_SECONDS": 0.1}.items():
        monkeypatch.setattr(cli, name, seconds)
    started = time.monotonic()
    with pytest.raises(GitError, match=r"no progress for 0\.5 s") as failure:
        transfer("ls-remote", "ssh://127.0.0.1/app.git", cwd=path, hint="go on without it")
    assert time.monotonic() - started < 5
    assert (failure.value.why, failure.value.hint) == ("connecting", "go on without it")
