"""Which tool a repository uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.catalog import find_preset, find_toolchain
from tasks_lib.toolchains.presets.alembic import Alembic
from tasks_lib.toolchains.presets.sqlx import SQLx
from tests.toolchains.contract import write

if TYPE_CHECKING:
    from pathlib import Path

ALEMBIC = {"alembic.ini": "[alembic]\nscript_location = migrations\n"}
PRISMA = {"prisma/schema.prisma": ""}


def test_no_tool(tmp_path: Path) -> None:
    """A repository without signs of a tool has none."""
    write(tmp_path, {"README.md": "alembic, django, prisma"})
    assert find_toolchain(tmp_path) is None


def test_several_tools_are_an_error_that_names_them(tmp_path: Path) -> None:
    """With two tools the user has to choose, and is told how."""
    write(tmp_path, ALEMBIC)
    write(tmp_path / "server", PRISMA)
    with pytest.raises(ToolchainError) as caught:
        find_toolchain(tmp_path)
    assert caught.value.what == "several migration tools: `alembic` in `./`, `prisma` in `server/`"
    assert "WORKTREE_MIGRATE=alembic or WORKTREE_MIGRATE=prisma" in caught.value.hint


def test_the_same_tool_twice(tmp_path: Path) -> None:
    """A preset's name does not say which of two folders is meant; a command does."""
    for folder in ("api", "backend"):
        write(tmp_path / folder, ALEMBIC)
    with pytest.raises(ToolchainError) as caught:
        find_preset(tmp_path, "alembic")
    assert caught.value.hint == "set a command of your own: WORKTREE_MIGRATE='cd backend && ...'"


def test_a_preset_that_is_named(tmp_path: Path) -> None:
    """A named preset is the one, whatever else the repository shows."""
    write(tmp_path / "server", PRISMA)
    write(tmp_path / "backend", ALEMBIC)
    assert find_preset(tmp_path, "alembic") == Alembic(tmp_path / "backend")


def test_a_preset_that_is_named_but_not_detected(tmp_path: Path) -> None:
    """Whoever names a preset knows better than its signs."""
    assert find_preset(tmp_path, "sqlx") == SQLx(tmp_path)
