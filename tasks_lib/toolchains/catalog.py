"""The tools that are known by name, and which of them a repository uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.presets.alembic import Alembic
from tasks_lib.toolchains.presets.dbmate import Dbmate
from tasks_lib.toolchains.presets.django import Django
from tasks_lib.toolchains.presets.drizzle import Drizzle
from tasks_lib.toolchains.presets.prisma import Prisma
from tasks_lib.toolchains.presets.seaorm import SeaORM
from tasks_lib.toolchains.presets.sqlx import SQLx

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain

PRESETS: dict[str, type[Toolchain]] = {
    preset.name: preset for preset in (SeaORM, Alembic, Django, Prisma, Drizzle, Dbmate, SQLx)
}

FOLDERS = (".", "backend", "server", "api", "app", "src")
"""Where a toolchain is looked for. Not every folder: the one in `examples/` must not run."""


def matches(root: Path) -> list[Toolchain]:
    """Return every toolchain that the worktree at *root* shows signs of."""
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    return [preset(folder) for folder in folders for preset in PRESETS.values() if preset.detect(folder)]


def detected(root: Path) -> Toolchain | None:
    """
    Return the one toolchain of the worktree at *root*, None where there is none.

    Raises:
        ToolchainError: If there are several.
    """
    return _only(root, matches(root))


def preset(root: Path, name: str) -> Toolchain:
    """
    Return the toolchain *name* where it is detected, else at *root*: whoever names it knows better.

    Raises:
        ToolchainError: If it is found in several folders.
    """
    return _only(root, [found for found in matches(root) if found.name == name]) or PRESETS[name](root)


def _only(root: Path, found: list[Toolchain]) -> Toolchain | None:
    if len(found) < 2:
        return found[0] if found else None
    where = [f"`{toolchain.name}` in `{toolchain.folder.relative_to(root)}/`" for toolchain in found]
    names = list(dict.fromkeys(toolchain.name for toolchain in found))
    by_name = " or ".join(f"WORKTREE_MIGRATE={name}" for name in names)
    by_command = f"WORKTREE_MIGRATE='cd {found[0].folder.relative_to(root)} && ...'"
    raise ToolchainError(
        f"several migration tools: {', '.join(where)}",
        why="the wrong one would change the database in ways that nobody asked for",
        hint=f"choose by {by_name}" if len(names) > 1 else f"choose by a command of your own: {by_command}",
    )
