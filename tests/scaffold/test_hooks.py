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

RECORDER = """\
#!/bin/sh
echo "recorded: $1 in $PWD ${GIT_DIR-clean}${GIT_WORK_TREE-}${GIT_INDEX_FILE-}"
[ ! -e "$(dirname "$0")/fail" ] || exit 3
"""


def scaffold(main, *flags, run=""):
    """Write the files that `init` writes."""
    for file in write.examine(load(main, {}, {}), flags=flags, run=run):
        if file.outcome == "created":
            write.write(file)


def run(*command, cwd, programs=Path(sys.executable).parent, **options):
    """Run *command* with the folder *programs* first on the search path."""
    path = os.pathsep.join([*([str(programs)] if programs else []), "/usr/bin", "/bin"])
    environment = {**os.environ, "PATH": path, **options.pop("env", {})}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120, **options
    )


@pytest.fixture
def recorded(tmp_path):
    """Give a repository with the hook for plain git, and a `goldentree` in `bin` that says where it was called."""
    path = tmp_path / "app"
    path.mkdir()
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "Start"]):
        subprocess.run(["git", *arguments], cwd=path, check=True)
    scaffold(path, "git")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/goldentree").write_text(RECORDER)
    (tmp_path / "bin/goldentree").chmod(0o755)
    return path


def test_plain_git_sets_a_new_worktree_up(recorded, tmp_path):
    """`git worktree add` of a branch calls goldentree there, and never the branch's tasks; no other checkout does."""
    (recorded / "tasks.py").write_text("raise SystemExit('the tasks of the branch')\n")
    added = run("git", "worktree", "add", "-b", "a", tmp_path / "a b", cwd=recorded, programs=tmp_path / "bin")
    assert added.returncode == 0, added.stderr
    assert f"recorded: worktree.setup in {tmp_path / 'a b'} clean\n" in added.stderr

    others = [
        (["git", "checkout", "-b", "b"], tmp_path / "a b", {}),
        (["git", "worktree", "add", "--detach", tmp_path / "detached"], recorded, {}),
        (["git", "worktree", "add", "-b", "ours", tmp_path / "ours"], recorded, {"GOLDENTREE": "1"}),
    ]
    for command, cwd, environment in others:
        quiet = run(*command, cwd=cwd, env=environment, programs=tmp_path / "bin")
        assert quiet.returncode == 0, quiet.stderr
        assert "recorded" not in quiet.stderr, command


@pytest.mark.parametrize(("folder", "status"), [("bin", 3), ("absent", 127)], ids=["setup fails", "no goldentree"])
def test_failed_setup_prints_the_command(recorded, tmp_path, folder, status):
    """The worktree stays, git exits with the setup's status, and the last line is the command to run."""
    (tmp_path / "bin/fail").touch()
    added = run("git", "worktree", "add", "-b", "a", tmp_path / "a", cwd=recorded, programs=tmp_path / folder)
    assert added.returncode == status
    cure = f"{tmp_path / 'a'} has no database and env file of its own; in it, run: goldentree worktree.setup\n"
    assert cure in added.stderr
    assert (tmp_path / "a" / ".git").exists()


def test_hook_runs_no_goldentree_of_the_branch(recorded, tmp_path):
    """A branch may have one where a relative folder on PATH leads to."""
    (tmp_path / "bin/goldentree").rename(recorded / "goldentree")
    for arguments in (["add", "goldentree"], ["commit", "--quiet", "--message", "Bring it"]):
        subprocess.run(["git", *arguments], cwd=recorded, check=True)
    for folder in (".", tmp_path / "a"):
        added = run("git", "worktree", "add", "-f", "-B", "a", tmp_path / "a", cwd=recorded, programs=folder)
        assert added.returncode == 127
        assert "recorded" not in added.stderr
        subprocess.run(["git", "worktree", "remove", "--force", tmp_path / "a"], cwd=recorded, check=True)


def test_hook_works_inside_another_hook(recorded, tmp_path):
    """Git's variables, which a hook exports, do not lead it to another worktree."""
    environment = {"GIT_DIR": str(recorded / ".git"), "GIT_INDEX_FILE": str(recorded / ".git" / "index")}
    programs = tmp_path / "bin"
    added = run("git", "worktree", "add", "-b", "a", tmp_path / "a", cwd=recorded, env=environment, programs=programs)
    assert f"recorded: worktree.setup in {tmp_path / 'a'} clean\n" in added.stderr


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
