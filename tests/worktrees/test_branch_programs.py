"""A branch that brings programs of its own."""

from __future__ import annotations

import os

import pytest

PROGRAMS = ("sh", "bash", "psql", "pgcli", "git", "pg_dump", "less", "portless", "ssh", "ps", "true")


@pytest.fixture
def ran(repository, tmp_path):
    """Commit programs on branch `hostile` that note that they ran; give a function that returns which did."""
    (repository.path / "invoke.yaml").write_text(
        "worktree: {before_remove: 'true removed; env true', after_setup: 'true set up'}\n"
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
    repository.json("worktree.remove", "hostile", "--force")
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
