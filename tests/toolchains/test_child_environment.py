"""The environment of child processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks_lib.toolchains.environment import child_environment


@pytest.fixture
def found(tmp_path: Path):
    """Return a function that makes a program in some places and returns the one that a child would find."""

    def find(*places: str) -> str:
        for place in places:
            program = tmp_path / place / "tool"
            program.parent.mkdir(parents=True, exist_ok=True)
            program.touch(mode=0o755)
        environment = child_environment(
            {"PATH": str(tmp_path / "path")},
            url="",
            libpq={},
            clients=tmp_path / "postgres",
            worktree=tmp_path / "worktree",
            main=tmp_path / "main",
            folder="packages/db",
        )
        program = shutil.which("tool", path=environment["PATH"])
        return str(program).removeprefix(f"{tmp_path}/").removesuffix("/tool")

    return find


def test_worktrees_programs_come_first(found) -> None:
    """The worktree's own tools come first, those of the main worktree are the last resort."""
    order = (
        "main/node_modules/.bin",
        "main/.venv/bin",
        "path",
        "postgres",
        "worktree/backend/.venv/bin",
        "worktree/node_modules/.bin",
        "worktree/.venv/bin",
        "worktree/packages/db/node_modules/.bin",
    )
    assert [found(place) for place in order] == list(order)


def test_clients_on_path_keep_their_place(tmp_path: Path) -> None:
    """PostgreSQL in `/usr/bin` does not bring all of `/usr/bin` before an activated environment."""
    path = "/app/venv/bin:/usr/bin"
    environment = child_environment(
        {"PATH": path}, url="", libpq={}, clients=Path("/usr/bin"), worktree=tmp_path, main=tmp_path
    )
    assert environment["PATH"] == path


def test_the_database_replaces_an_exported_one(tmp_path: Path) -> None:
    """Variables that the shell exports for another database do not reach children."""
    environment = child_environment(
        {"DATABASE_URL": "postgresql:///other", "PGDATABASE": "other", "EDITOR": "vi"},
        url="postgresql://ada:x@db/mine",
        libpq={"PGDATABASE": "mine", "PGPASSWORD": "x"},
        clients=None,
        worktree=tmp_path,
        main=tmp_path,
    )
    assert environment["DATABASE_URL"] == "postgresql://ada:x@db/mine"
    assert environment["PGDATABASE"] == "mine"
    assert environment["EDITOR"] == "vi"
