"""Which commands the settings give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.choose import find_history_toolchain, generate_command, migrate_command
from tests.toolchains.contract import execute, write

if TYPE_CHECKING:
    from pathlib import Path

ALEMBIC = {"alembic.ini": "[alembic]\nscript_location = migrations\n", "requirements.txt": "sqlacodegen\n"}
PRISMA = {"prisma/schema.prisma": ""}


@pytest.fixture
def alembic(tmp_path: Path) -> Path:
    write(tmp_path, ALEMBIC)
    return tmp_path


@pytest.fixture
def both(alembic: Path) -> Path:
    write(alembic, PRISMA)
    return alembic


def program(command) -> str | None:
    return command.argv[0] if command else None


def test_detected_tool_decides_everything(alembic: Path) -> None:
    """Without settings the repository decides everything."""
    assert program(migrate_command(alembic, None)) == "alembic"
    assert program(generate_command(alembic, None, None, None)) == "sqlacodegen"
    assert find_history_toolchain(alembic, None).name == "alembic"


def test_empty_setting_runs_nothing(alembic: Path) -> None:
    """An empty setting switches migrating or generating off."""
    assert migrate_command(alembic, "") is None
    assert generate_command(alembic, None, "", None) is None


def test_users_command_runs_unchanged(alembic: Path, database: str) -> None:
    """The shell runs it unchanged, in the root of the worktree, with the database in its environment."""
    own = """printf '%s\\n' "$PWD" 'a  "b"' | cat; psql -Atc 'SELECT current_database()'"""
    lines = execute(migrate_command(alembic, own), database, alembic)
    assert lines == [str(alembic), 'a  "b"', database.rpartition("/")[2].partition("?")[0]]


def test_users_command_keeps_the_detected_tool(alembic: Path) -> None:
    """Beside the user's command, the detected tool still generates, and its migration history is read."""
    assert program(generate_command(alembic, "just migrate", None, None)) == "sqlacodegen"
    assert find_history_toolchain(alembic, "just migrate").name == "alembic"


def test_several_tools_need_a_setting(both: Path) -> None:
    """Several tools are an error until the setting names one."""
    with pytest.raises(ToolchainError, match="several migration tools"):
        migrate_command(both, None)
    with pytest.raises(ToolchainError, match="several migration tools"):
        generate_command(both, None, None, None)
    assert program(migrate_command(both, "prisma")) == "prisma"
    assert program(generate_command(both, "prisma", None, None)) == "prisma"
    assert program(generate_command(both, "prisma", "alembic", None)) == "sqlacodegen"


def test_users_command_with_several_tools(both: Path) -> None:
    """The command may run any of the tools, so nothing is generated and no migration history is read."""
    assert program(migrate_command(both, "just migrate")) == "sh"
    assert generate_command(both, "just migrate", None, None) is None
    assert find_history_toolchain(both, "just migrate") is None


def test_generate_to_is_relative_to_the_worktree(alembic: Path) -> None:
    """The path is relative to the root of the worktree."""
    assert generate_command(alembic, None, None, "src/db/models.py").output == alembic / "src/db/models.py"
