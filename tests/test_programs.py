"""Which folders of PATH may hold our programs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tasks_lib.programs import find_program, trusted_path


@pytest.fixture
def worktrees(tmp_path):
    """Give a main worktree and one inside it, both with a program in `bin`."""
    main = tmp_path / "main"
    subprocess.run(["git", "init", "--quiet", main], check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", "Start"], cwd=main, check=True)
    subprocess.run(["git", "worktree", "add", "--quiet", ".worktrees/a"], cwd=main, check=True)
    for path in (main, main / ".worktrees/a"):
        (path / "bin").mkdir()
        (path / "bin/tool").touch(mode=0o755)
    return main, main / ".worktrees/a"


def test_no_program_comes_from_a_linked_worktree(worktrees, tmp_path, monkeypatch):
    """Neither by its folder, nor by a link to it, a relative folder, or the empty one."""
    main, there = worktrees
    (tmp_path / "link").symlink_to(there / "bin")
    monkeypatch.chdir(there)
    for folder in (f"{there}/bin", f"{tmp_path}/link", f"{main}/.worktrees/../.worktrees/a/bin", "bin", ".", ""):
        monkeypatch.setenv("PATH", os.pathsep.join([folder, f"{main}/bin"]))
        assert find_program("tool") == f"{main}/bin/tool"
        monkeypatch.setenv("PATH", folder)
        assert (find_program("tool"), trusted_path()) == (None, os.defpath)
    monkeypatch.chdir(main)
    monkeypatch.setenv("PATH", "bin")
    assert find_program("tool") is None


def test_module_run_in_a_worktree_imports_nothing_from_it(tmp_path):
    """`python -m` puts the current directory first, where a branch may have the modules that are imported later."""
    for name in ("psycopg", "rich", "msgspec", "dotenv", "yaml"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\n")
    run = [sys.executable, "-m", "tasks_lib", "config.show"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    result = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "is not in a git repository" in result.stderr
    assert not (tmp_path / "ran").exists()
