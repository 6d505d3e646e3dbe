"""The functions that `tasks_lib` exports, called as a Python program calls them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tasks_lib
from tasks_lib.errors import WorktreeError

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "create_worktree.py"


def run_example(*arguments):
    """Run the example in a process of its own, outside the checkout."""
    return subprocess.run(
        [sys.executable, EXAMPLE, *arguments], cwd="/", capture_output=True, text=True, timeout=120, check=False
    )


def test_example_creates_and_removes_a_worktree(repository):
    """The example prints the worktree's path and database, and leaves only what can be undone."""
    result = run_example(repository.path, "feat/a")

    assert result.returncode == 0, result.stderr
    created, listed, removed = result.stdout.splitlines()
    assert created.startswith(f"{repository.worktree('feat/a')} uses {repository.prefix}_a_")
    assert listed.endswith(", feat/a")
    assert removed == f"parked: {', '.join(repository.databases(parked=True))}"
    assert not repository.worktree("feat/a").exists()
    assert repository.databases() == []


def test_example_prints_an_error_without_traceback(tmp_path):
    """A directory that is not a repository gives the error's kind, its text and status 1."""
    result = run_example(tmp_path, "a")

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("git: ")
    assert "Traceback" not in result.stderr


def test_undo_restores_a_removed_worktree(repository):
    """`undo_removal` returns the directory, with the uncommitted work and the same database."""
    project = tasks_lib.open_project(repository.path)
    record = tasks_lib.create_worktree(project, "a")
    note = Path(record.path) / "note"
    note.write_text("uncommitted")
    with pytest.raises(WorktreeError):
        tasks_lib.remove_worktree(project, "a")
    assert note.exists()

    tasks_lib.remove_worktree(project, "a", force=True)
    assert not note.exists()

    assert tasks_lib.undo_removal(project) == Path(record.path)
    assert note.read_text() == "uncommitted"
    assert repository.databases() == [record.identity.database]


def test_created_worktree_can_lack_a_database(repository):
    """With `database=False` only the worktree is created."""
    record = tasks_lib.create_worktree(tasks_lib.open_project(repository.path), "a", database=False)

    assert Path(record.path).is_dir()
    assert record.clone is None
    assert repository.databases() == []


def test_open_ledger_uses_the_ledger_of_the_commands(repository):
    """An agent that a command registered is in the ledger that `open_ledger` returns."""
    repository.json("worktree.create", "a")
    repository.json("agent.register", "--name", "ada", cwd=repository.worktree("a"))

    with tasks_lib.open_ledger(tasks_lib.open_project(repository.worktree("a"))).read() as tx:
        assert [agent.name for agent in tx.agents.find_all()] == ["ada"]


def test_open_project_refuses_a_missing_directory(tmp_path):
    """The error names the directory."""
    with pytest.raises(WorktreeError, match=r"/missing` is not a directory"):
        tasks_lib.open_project(tmp_path / "missing")


def test_every_public_name_can_be_imported():
    """Every name in `__all__` is there, and an unknown one is an AttributeError."""
    assert all(getattr(tasks_lib, name) for name in tasks_lib.__all__)
    assert set(tasks_lib.__all__) <= set(dir(tasks_lib))
    assert not hasattr(tasks_lib, "unknown")


def test_importing_the_package_imports_nothing_else():
    """`import tasks_lib` loads no other module of the package, and not Invoke."""
    code = "import sys, tasks_lib; print([m for m in sys.modules if m.startswith(('tasks_lib.', 'invoke'))])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_page_quotes_the_example_and_every_function():
    """docs/reference/python.md has the example as it is, and a row for every public name."""
    text = (ROOT / "docs" / "reference" / "python.md").read_text()

    assert f"```python\n{EXAMPLE.read_text()}```" in text
    assert [name for name in tasks_lib.__all__ if f"| `{name}" not in text] == []
