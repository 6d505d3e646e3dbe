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


def test_no_tool_is_detected(tmp_path: Path) -> None:
    """A repository without signs of a tool has none."""
    write(tmp_path, {"README.md": "alembic, django, prisma"})
    assert find_toolchain(tmp_path) is None


def test_several_tools_are_an_error_that_names_them(tmp_path: Path) -> None:
    """The error names both tools, and the hint the settings that choose one."""
    write(tmp_path, ALEMBIC)
    write(tmp_path / "server", PRISMA)
    with pytest.raises(ToolchainError) as caught:
        find_toolchain(tmp_path)
    assert caught.value.what == "several migration tools: `alembic` in `./`, `prisma` in `server/`"
    assert "WORKTREE_MIGRATE=alembic or WORKTREE_MIGRATE=prisma" in caught.value.hint


def test_tool_in_two_folders_is_an_error(tmp_path: Path) -> None:
    """A preset's name does not say which of two folders is meant; a command does."""
    for folder in ("api", "backend"):
        write(tmp_path / folder, ALEMBIC)
    with pytest.raises(ToolchainError) as caught:
        find_preset(tmp_path, "alembic")
    assert caught.value.hint == "set WORKTREE_MIGRATE=alembic:backend or WORKTREE_MIGRATE=alembic:api"
    assert find_preset(tmp_path, "alembic:api") == Alembic(tmp_path / "api")


def test_folder_of_a_preset_is_in_the_worktree(tmp_path: Path) -> None:
    """A setting cannot lead out of the worktree, or to a folder that the branch does not have."""
    for folder in ("..", "missing"):
        with pytest.raises(ToolchainError, match="names a folder that is not in"):
            find_preset(tmp_path, f"alembic:{folder}")


def test_named_preset_is_used(tmp_path: Path) -> None:
    """The named preset is used even if another tool is detected too."""
    write(tmp_path / "server", PRISMA)
    write(tmp_path / "backend", ALEMBIC)
    assert find_preset(tmp_path, "alembic") == Alembic(tmp_path / "backend")


def test_named_preset_needs_no_detection(tmp_path: Path) -> None:
    """A named preset is used even if it is not detected."""
    assert find_preset(tmp_path, "sqlx") == SQLx(tmp_path)
