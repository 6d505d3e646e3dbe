"""A branch that brings programs of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAMS = ("sh", "bash", "psql", "pgcli", "git", "pg_dump", "less", "portless", "ssh", "ps", "true")


@pytest.fixture
def ran(repository, tmp_path):
    """Commit programs on branch `hostile` that note that they ran; give a function that returns which did."""
    (repository.path / "invoke.yaml").write_text(
        "worktree: {before_remove: 'echo removed', after_setup: 'true set up'}\n"
    )
    repository.commit("Configure")
    repository.git("switch", "--quiet", "--create", "hostile")
    noted = tmp_path / "ran"
    for folder in (".venv/bin", "node_modules/.bin", "bin", "."):
        for name in PROGRAMS:
            program = repository.path / folder / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f"#!/bin/sh\necho $0 ${{PGPASSWORD:-}} >> {noted}\n")
            program.chmod(0o755)
    repository.git("add", "--force", "bin", ".venv", "node_modules", *PROGRAMS)
    repository.commit("Bring programs")
    repository.git("switch", "--quiet", "main")
    return lambda: noted.read_text() if noted.exists() else ""


def test_no_program_of_the_branch_is_run(repository, ran):
    """Also where PATH leads into its worktree: first, relative, or by the empty name."""
    repository.json("worktree.create", "hostile")
    there = repository.worktree("hostile")
    environment = {"PATH": os.pathsep.join([f"{there}/bin", ".venv/bin", ".", "", os.environ["PATH"]])}
    for task in (("db.psql", "--", "-c", "SELECT 7 AS seven", "-c", "\\! ps"), ("worktree.status",)):
        result = repository.inv(*task, cwd=there, env=environment)
        assert result.returncode == 0, result.stderr
        assert ("seven" in result.stdout) == ("db.psql" in task)
    repository.json("worktree.remove", "hostile", "--force", env=environment)
    assert ran() == ""


def test_tools_that_the_branch_has_committed_come_last(repository, ran):
    """A project that commits its tools gets those that the machine lacks."""
    repository.git("switch", "--quiet", "hostile")
    own = repository.path / "node_modules/.bin/own-tool"
    own.write_text("#!/bin/sh\necho it ran\n")
    own.chmod(0o755)
    repository.git("add", "--force", own)
    repository.commit("Bring a tool")
    repository.git("switch", "--quiet", "main")
    (repository.path / "invoke.yaml").write_text("worktree: {after_setup: 'true; own-tool'}\n")
    result = repository.inv("worktree.create", "hostile", "--no-db")
    assert "│ it ran" in result.stderr
    assert ran() == ""


def test_goldentree_runs_no_code_of_a_hostile_branch(repository, ran, tmp_path):
    """Neither its tasks and settings, nor modules that have the names of ours."""
    main, note = repository.path, f"open({str(tmp_path / 'ran')!r}, 'a').write(__file__)\n"
    repository.git("switch", "--quiet", "hostile")
    for name in (
        "tasks.py",
        "invoke.py",
        "rich.py",
        "psycopg.py",
        "msgspec.py",
        "sitecustomize.py",
        "tasks_lib/__init__.py",
    ):
        (main / name).parent.mkdir(exist_ok=True)
        (main / name).write_text(note)
    (main / "invoke.yaml").write_text("worktree: {after_setup: './true', before_remove: './true'}\n")
    repository.commit("Bring code")
    repository.git("switch", "--quiet", "main")
    repository.json("worktree.create", "hostile", "--no-db")
    run = [sys.executable, "-P", "-m", "tasks_lib"]
    for task, there in (("worktree.status", repository.worktree("hostile")), ("worktree.remove hostile --force", main)):
        result = subprocess.run([*run, *task.split()], cwd=there, capture_output=True, text=True, check=False)
        assert "Traceback" not in result.stderr
    assert not repository.worktree("hostile").exists()
    assert ran() == ""


@pytest.mark.parametrize("form", ["file", "directory"])
def test_no_configuration_of_a_worktree_is_used(repository, tmp_path, form):
    """Who may write in a worktree alone can put another `.git` there, whose configuration names programs."""
    repository.json("worktree.create", "a", "--no-db")
    there, evil, ran = repository.worktree("a"), repository.worktree("a") / "evil.git", tmp_path / "ran"
    repository.git("clone", "--quiet", "--bare", repository.path, evil)
    program = there / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    for key, value in (("core.bare", "false"), ("core.fsmonitor", str(program))):
        subprocess.run(["git", f"--git-dir={evil}", "config", key, value], check=True)
    (there / ".git").unlink()
    if form == "file":
        (there / ".git").write_text(f"gitdir: {evil}\n")
    else:
        evil.rename(there / ".git")
    subprocess.run(["git", "status"], cwd=there, check=True, capture_output=True)
    assert ran.exists(), "git itself runs it"
    ran.unlink()

    for task in (("worktree.list",), ("worktree.status", "a"), ("worktree.env", "a"), ("worktree.gc",), ("doctor",)):
        repository.inv(*task)
        assert not ran.exists(), task
    assert "points to another repository" in repository.refuses("worktree.env", "a")
    assert repository.json("worktree.list")[1]["dirty"] is None
