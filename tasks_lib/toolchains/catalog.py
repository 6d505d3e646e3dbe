"""List the presets, and find the one that a repository uses."""

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
    toolchain.name: toolchain
    for toolchain in (
        SeaORM,
        Alembic,
        Django,
        Prisma,
        Drizzle,
        Dbmate,
        SQLx,
    )
}
"""Every preset by name; docs/how-to/add-a-migration-tool.md says how to add one."""

FOLDERS = (".", "backend", "server", "api", "app", "src")
"""The folders in which tools are searched for. Not all: the one in `examples/` must not run."""


def list_toolchains(root: Path) -> list[Toolchain]:
    """Return every toolchain that is detected in the worktree at *root*."""
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    return [preset(folder) for folder in folders for preset in PRESETS.values() if preset.detect(folder)]


def find_toolchain(root: Path) -> Toolchain | None:
    """
    Return the toolchain of the worktree at *root*; None if no tool is detected.

    Raises:
        ToolchainError: If several tools are detected.
    """
    return _only(root, list_toolchains(root))


def find_preset(root: Path, name: str) -> Toolchain:
    """
    Return the toolchain *name* in the folder where it is detected, else in *root*.

    Raises:
        ToolchainError: If it is detected in several folders.
    """
    return _only(root, [found for found in list_toolchains(root) if found.name == name]) or PRESETS[name](root)


def _only(root: Path, found: list[Toolchain]) -> Toolchain | None:
    if len(found) < 2:
        return found[0] if found else None
    where = [f"`{toolchain.name}` in `{toolchain.folder.relative_to(root)}/`" for toolchain in found]
    names = list(dict.fromkeys(toolchain.name for toolchain in found))
    by_name = " or ".join(f"WORKTREE_MIGRATE={name}" for name in names)
    by_command = f"WORKTREE_MIGRATE='cd {found[0].folder.relative_to(root)} && ...'"
    raise ToolchainError(
        f"several migration tools: {', '.join(where)}",
        why="the wrong one would change the database in unexpected ways",
        hint=f"set {by_name}" if len(names) > 1 else f"set a command of your own: {by_command}",
    )
