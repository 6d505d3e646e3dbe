"""The hooks that `init` writes, run as git, Conductor and Claude Code run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks_lib.scaffold import write
from tasks_lib.settings import load

RECORDER = """
import os
from invoke import Collection, task

@task
def setup(c):
    git = sorted(name for name in os.environ if name.startswith("GIT_"))
    print("recorded:", os.getcwd(), {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"} & set(git) or "clean")
    if os.path.exists(os.path.join(os.path.dirname(__file__), "fail")):
        raise SystemExit(3)

ns = Collection(worktree=Collection("worktree", setup))
"""


def scaffold(main, *flags, run=""):
    """Write the files that `init` writes."""
    for file in write.examine(load(main, {}, {}), flags=flags, run=run, command="inv"):
        if file.outcome == "created":
            write.write(file)


def run(*command, cwd, inv=True, **options):
    """Run *command* with `inv` on the search path, or without."""
    path = os.pathsep.join([*([str(Path(sys.executable).parent)] if inv else []), "/usr/bin", "/bin"])
    environment = {**os.environ, "PATH": path, **options.pop("env", {})}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120, **options
    )


@pytest.fixture
def recorded(tmp_path):
    """Give a repository with the hook for plain git, and a `worktree.setup` that says where it was called."""
    path = tmp_path / "app"
    path.mkdir()
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "Start"]):
        subprocess.run(["git", *arguments], cwd=path, check=True)
    (path / "tasks.py").write_text(RECORDER)
    scaffold(path, "git")
    return path


def test_plain_git_sets_a_new_worktree_up(recorded, tmp_path):
    """`git worktree add` of a branch calls it there, by the main worktree's tasks; no other checkout does."""
    added = run("git", "worktree", "add", "-b", "a", tmp_path / "a b", cwd=recorded)
    assert added.returncode == 0, added.stderr
    assert f"recorded: {tmp_path / 'a b'} clean\n" in added.stderr
    # The branch has no `tasks.py`: what is checked out brings no code that runs by itself.
    assert not (tmp_path / "a b" / "tasks.py").exists()

    others = [
        (["git", "checkout", "-b", "b"], tmp_path / "a b", {}),
        (["git", "worktree", "add", "--detach", tmp_path / "detached"], recorded, {}),
        (["git", "worktree", "add", "-b", "ours", tmp_path / "ours"], recorded, {"GOLDENTREE": "1"}),
    ]
    for command, cwd, environment in others:
        quiet = run(*command, cwd=cwd, env=environment)
        assert quiet.returncode == 0, quiet.stderr
        assert "recorded" not in quiet.stderr, command


@pytest.mark.parametrize(("inv", "status"), [(True, 3), (False, 127)], ids=["setup fails", "no inv"])
def test_failed_setup_prints_the_command(recorded, tmp_path, inv, status):
    """The worktree stays, git exits with the setup's status, and the last line is the command to run."""
    (recorded / "fail").touch()
    added = run("git", "worktree", "add", "-b", "a", tmp_path / "a", cwd=recorded, inv=inv)
    assert added.returncode == status
    assert f"{tmp_path / 'a'} has no database and env file of its own; in it, run: inv worktree.setup\n" in added.stderr
    assert (tmp_path / "a" / ".git").exists()


def test_hook_works_inside_another_hook(recorded, tmp_path):
    """Git's variables, which a hook exports, do not lead it to another worktree."""
    environment = {"GIT_DIR": str(recorded / ".git"), "GIT_INDEX_FILE": str(recorded / ".git" / "index")}
    added = run("git", "worktree", "add", "-b", "a", tmp_path / "a", cwd=recorded, env=environment)
    assert f"recorded: {tmp_path / 'a'} clean\n" in added.stderr


def test_claude_code_creates_and_removes_worktrees(repository):
    """The hook creates a worktree or finds the existing one, refuses the main one, and keeps uncommitted work."""
    scaffold(repository.path, "claude")
    repository.commit("Scaffold")
    hooks = json.loads((repository.path / ".claude" / "settings.json").read_text())["hooks"]

    def claude(event, **asked):
        command = hooks[event][0]["hooks"][0]["command"]
        environment = {"CLAUDE_PROJECT_DIR": str(repository.path)}
        payload = json.dumps({"session_id": "s", "cwd": str(repository.path), "hook_event_name": event, **asked})
        return run("sh", "-c", command, cwd=repository.path, env=environment, input=payload)

    created = claude("WorktreeCreate", name="feat-x")
    assert created.stdout == f"{repository.worktree('feat-x')}\n", created.stderr
    assert len(repository.databases()) == 1
    assert claude("WorktreeCreate", name="feat-x").stdout == created.stdout
    for refused in (claude("WorktreeCreate", name="main"), claude("WorktreeCreate", worktree_path="x")):
        assert refused.returncode != 0
        assert refused.stdout == ""
    assert list(repository.records()) == [next(iter(repository.records()))]

    (repository.worktree("feat-x") / "new").touch()
    kept = claude("WorktreeRemove", worktree_path=str(repository.worktree("feat-x")))
    assert kept.returncode == 1
    assert (repository.worktree("feat-x") / "new").exists()
    (repository.worktree("feat-x") / "new").unlink()
    assert claude("WorktreeRemove", worktree_path=str(repository.worktree("feat-x"))).returncode == 0
    assert not repository.worktree("feat-x").exists()


def test_conductor_sets_up_and_archives(repository):
    """A workspace is set up, run and archived; archiving one that was not set up changes no database."""
    scaffold(repository.path, run='echo "port $CONDUCTOR_PORT"; cat .env')
    repository.commit("Scaffold")
    scripts = json.loads((repository.path / "conductor.json").read_text())["scripts"]
    shell = shutil.which("zsh") or "sh"

    def conductor(script, workspace):
        environment = {
            "CONDUCTOR_ROOT_PATH": str(repository.path),
            "CONDUCTOR_WORKSPACE_PATH": str(workspace),
            "CONDUCTOR_WORKSPACE_NAME": workspace.name,
            "CONDUCTOR_DEFAULT_BRANCH": "main",
            "CONDUCTOR_PORT": "55100",
        }
        result = run(shell, "-c", scripts[script], cwd=workspace, env=environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    workspaces = [repository.path.parent / "conductor" / "workspaces" / name for name in ("oslo", "lima")]
    for workspace in workspaces:
        repository.git("worktree", "add", "--quiet", "-b", f"ada/{workspace.name}", workspace)
    oslo, lima = workspaces
    conductor("setup", oslo)
    (clone,) = repository.databases()
    assert f"/{clone}" in (oslo / ".env").read_text()
    assert "PORT=55100\n" in conductor("run", oslo)
    conductor("archive", lima)
    assert repository.databases() == [clone]
    conductor("archive", oslo)
    assert clone not in repository.databases()
