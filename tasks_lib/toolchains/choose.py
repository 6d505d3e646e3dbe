"""
Turn settings into commands.

A setting is None (detect the tool), empty (do nothing), a preset's name, or a command. A command is passed to `sh -c`
unchanged, in the root of the worktree, so that it may be a pipeline; the user quotes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.errors import ToolchainError
from tasks_lib.settings import HistoryTable
from tasks_lib.toolchains.base import Command
from tasks_lib.toolchains.catalog import PRESETS, find_preset, find_toolchain, is_preset, list_toolchains
from tasks_lib.toolchains.declared import Declared

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain


def migrate_command(root: Path, migrate: str | None) -> Command | None:
    """
    Return the command that migrates the database of the worktree at *root*; None if there is nothing to run.

    Raises:
        ToolchainError: If several tools are detected and the setting does not choose one.
    """
    if migrate is None:
        toolchain = find_toolchain(root)
        return toolchain.migrate() if toolchain else None
    if is_preset(migrate):
        return find_preset(root, migrate).migrate()
    return _own(root, migrate)


def generate_command(root: Path, migrate: str | None, generate: str | None, to: str | None) -> Command | None:
    """
    Return the command that generates code for the worktree at *root*; None if there is nothing to run.

    Args:
        root: The worktree.
        migrate: As in `migrate_command`; its tool also generates, unless *generate* says otherwise.
        generate: None, empty, a preset's name or a command.
        to: Path for the generated code, relative to *root*; None for the tool's default.

    Raises:
        ToolchainError: If several tools are detected and no setting chooses one, or the target is hand-written.
    """
    if generate is None:
        toolchain = find_toolchain(root) if migrate is None else find_history_toolchain(root, migrate)
    elif is_preset(generate):
        toolchain = find_preset(root, generate)
    else:
        return _own(root, generate)
    return toolchain.generate(root / to if to else None) if toolchain else None


def find_history_toolchain(
    root: Path, migrate: str | None, history: HistoryTable | str | None = None
) -> Toolchain | None:
    """
    Return the toolchain whose migration history says what is applied; None if that cannot be determined.

    A command of the user's own is assumed to run the tool that *history* names, else the one that is detected, if
    exactly one is.

    Raises:
        ToolchainError: If a setting names no preset, or one that is detected in several folders.
    """
    if isinstance(history, HistoryTable):
        return Declared(root, history, migrate or "")
    if history is not None and not is_preset(history):
        raise ToolchainError(f"`db.history` names no preset: {history}", hint=f"use one of: {', '.join(PRESETS)}")
    preset = history or migrate
    if preset is not None and is_preset(preset):
        return find_preset(root, preset)
    found = list_toolchains(root)
    return found[0] if len(found) == 1 else None


def is_skippable(migrate: str | None, history: HistoryTable | str | None) -> bool:
    """Whether the migration history tells all that migrate does; a command of the user's own may do more."""
    return migrate is None or is_preset(migrate) or history is not None


def _own(root: Path, command: str) -> Command | None:
    return Command(("sh", "-c", command), root) if command else None
