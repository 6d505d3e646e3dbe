"""List the presets, and find the one that a repository uses."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError, ToolchainError
from tasks_lib.git.cli import read_git
from tasks_lib.output import format_first
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
"""The folders in which tools are searched for first."""

_SHOWN = 5
"""How many tools an error lists."""

_NOT_SEARCHED = frozenset(
    [
        "docs",
        "e2e",
        "example",
        "examples",
        "fixture",
        "fixtures",
        "node_modules",
        "sample",
        "samples",
        "template",
        "templates",
        "test",
        "tests",
        "vendor",
    ]
)
"""Names of folders whose tools are not the repository's own: the one in `examples/` must not run."""


def list_toolchains(root: Path) -> list[Toolchain]:
    """
    Return every toolchain that is detected in the worktree at *root*.

    Where the usual folders have none, as in most monorepos, all folders with a tracked file of a tool are looked at.
    """
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    found = [preset(folder) for folder in folders for preset in PRESETS.values() if preset.detect(folder)]
    return found or [preset(folder) for preset, folder in _list_candidates(root) if preset.detect(folder)]


def find_toolchain(root: Path) -> Toolchain | None:
    """
    Return the toolchain of the worktree at *root*; None if no tool is detected.

    Raises:
        ToolchainError: If several tools are detected.
    """
    return _only(root, list_toolchains(root))


def is_preset(setting: str) -> bool:
    """Whether *setting* names a preset: `prisma`, or `prisma:packages/db` for the one in that folder."""
    return setting.partition(":")[0] in PRESETS


def find_preset(root: Path, setting: str) -> Toolchain:
    """
    Return the toolchain that *setting* names (see `is_preset`): in the folder where it is detected, else in *root*.

    Raises:
        ToolchainError: If it is detected in several folders, or *setting* names one that does not exist.
    """
    name, _, folder = setting.partition(":")
    if not folder:
        return _only(root, [found for found in list_toolchains(root) if found.name == name]) or PRESETS[name](root)
    place = root / folder
    if not place.resolve().is_relative_to(root.resolve()) or not place.is_dir():
        raise ToolchainError(f"`{setting}` names a folder that is not in `{root}`")
    return PRESETS[name](place)


def _list_candidates(root: Path) -> list[tuple[type[Toolchain], Path]]:
    """Return the presets and folders for which a tracked file speaks."""
    patterns = {pattern: preset for preset in PRESETS.values() for pattern in preset.files}
    specs = [f":(glob)**/{pattern}" for pattern in patterns]
    try:
        names = read_git("ls-files", "-z", "--", *specs, cwd=root).split("\0")
    except GitError:  # not a worktree of git
        return []
    found: dict[tuple[type[Toolchain], Path], None] = {}
    for path in map(PurePosixPath, sorted(filter(None, names))):
        for pattern, preset in patterns.items():
            folder = PurePosixPath(*path.parts[: -len(PurePosixPath(pattern).parts)])
            if path.match(pattern) and _NOT_SEARCHED.isdisjoint(folder.parts):
                found[preset, root / folder] = None
    return list(found)


def _only(root: Path, found: list[Toolchain]) -> Toolchain | None:
    if len(found) < 2:
        return found[0] if found else None
    where = [f"`{toolchain.name}` in `{toolchain.folder.relative_to(root)}/`" for toolchain in found]
    names = list(dict.fromkeys(toolchain.name for toolchain in found))
    settings = names if len(names) > 1 else [f"{tool.name}:{tool.folder.relative_to(root)}" for tool in found]
    raise ToolchainError(
        f"several migration tools: {format_first(where, _SHOWN)}",
        why="the wrong one would change the database in unexpected ways",
        hint=f"set {' or '.join(f'WORKTREE_MIGRATE={setting}' for setting in settings[:_SHOWN])}",
    )
