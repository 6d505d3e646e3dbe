"""From settings to commands."""

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


def test_detection(alembic: Path) -> None:
    """Without settings the repository decides everything."""
    assert program(migrate_command(alembic, None)) == "alembic"
    assert program(generate_command(alembic, None, None, None)) == "sqlacodegen"
    assert find_history_toolchain(alembic, None).name == "alembic"


def test_an_empty_setting_switches_off(alembic: Path) -> None:
    """Empty means: do nothing."""
    assert migrate_command(alembic, "") is None
    assert generate_command(alembic, None, "", None) is None


def test_a_command_of_ones_own(alembic: Path, database: str) -> None:
    """It goes to the shell exactly as it stands, in the root of the worktree, with the database in its environment."""
    own = """printf '%s\\n' "$PWD" 'a  "b"' | cat; psql -Atc 'SELECT current_database()'"""
    lines = execute(migrate_command(alembic, own), database, alembic)
    assert lines == [str(alembic), 'a  "b"', database.rpartition("/")[2].partition("?")[0]]


def test_behind_a_command_of_ones_own(alembic: Path) -> None:
    """The tool that the repository shows still generates, and tells what is applied."""
    assert program(generate_command(alembic, "just migrate", None, None)) == "sqlacodegen"
    assert find_history_toolchain(alembic, "just migrate").name == "alembic"


def test_several_tools(both: Path) -> None:
    """Several tools are an error until the setting names one."""
    with pytest.raises(ToolchainError, match="several migration tools"):
        migrate_command(both, None)
    with pytest.raises(ToolchainError, match="several migration tools"):
        generate_command(both, None, None, None)
    assert program(migrate_command(both, "prisma")) == "prisma"
    assert program(generate_command(both, "prisma", None, None)) == "prisma"
    assert program(generate_command(both, "prisma", "alembic", None)) == "sqlacodegen"


def test_several_tools_behind_a_command_of_ones_own(both: Path) -> None:
    """Nobody knows which of them it drives, so nothing is generated and no ledger is read."""
    assert program(migrate_command(both, "just migrate")) == "sh"
    assert generate_command(both, "just migrate", None, None) is None
    assert find_history_toolchain(both, "just migrate") is None


def test_where_generated_code_goes(alembic: Path) -> None:
    """The path is relative to the root of the worktree."""
    assert generate_command(alembic, None, None, "src/db/models.py").output == alembic / "src/db/models.py"
