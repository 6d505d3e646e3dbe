"""
From settings to commands.

A setting is None (detect the tool), empty (do nothing), a preset's name, or a command of the
user's own. That is handed to `sh -c` as it stands, in the root of the worktree: it may be a
pipeline, and quoting it is the user's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.toolchains.base import Command
from tasks_lib.toolchains.catalog import PRESETS, detected, matches, preset

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain


def migrate_command(root: Path, migrate: str | None) -> Command | None:
    """
    Return what migrates the database of the worktree at *root*, None for nothing.

    Raises:
        ToolchainError: If the repository shows several tools and the setting does not say which.
    """
    if migrate is None:
        toolchain = detected(root)
        return toolchain.migrate() if toolchain else None
    if migrate in PRESETS:
        return preset(root, migrate).migrate()
    return _own(root, migrate)


def generate_command(root: Path, migrate: str | None, generate: str | None, to: str | None) -> Command | None:
    """
    Return what generates code for the worktree at *root*, None for nothing.

    Args:
        root: The worktree.
        migrate: As in `migrate_command`; the tool behind it generates as well, unless *generate* says otherwise.
        generate: None, empty, a preset's name or a command.
        to: Path for the generated code, relative to *root*; None for the tool's default.

    Raises:
        ToolchainError: If the repository shows several tools and no setting says which, or the target is hand-written.
    """
    if generate is None:
        toolchain = detected(root) if migrate is None else ledger_toolchain(root, migrate)
    elif generate in PRESETS:
        toolchain = preset(root, generate)
    else:
        return _own(root, generate)
    return toolchain.generate(root / to if to else None) if toolchain else None


def ledger_toolchain(root: Path, migrate: str | None) -> Toolchain | None:
    """
    Return the toolchain whose ledger tells what is applied, None where that cannot be known.

    Behind a command of the user's own stands the tool that the repository shows, if that is only one.

    Raises:
        ToolchainError: If a preset that the setting names is found in several folders.
    """
    if migrate in PRESETS:
        return preset(root, migrate)
    found = matches(root)
    return found[0] if len(found) == 1 else None


def _own(root: Path, command: str) -> Command | None:
    return Command(("sh", "-c", command), root) if command else None
