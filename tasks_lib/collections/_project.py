"""
Find the project around the current directory, with the team's settings from Invoke's configuration files.

Imports are inside functions because `inv --list` and completion import every task module.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.config import Config

if TYPE_CHECKING:
    from tasks_lib.settings import Origin
    from tasks_lib.worktrees.project import Project

SECTIONS = ("db", "worktree")
"""The sections of Invoke's configuration that are ours; an unknown key in them is an error."""


def current_project(*, looks: bool = False) -> Project:
    """
    Return the project around the current directory.

    Args:
        looks: Whether the command only looks: then it starts no server, and writes nothing.

    Raises:
        GitError: If it is not in a repository that we can work in.
        SettingsError: If a setting is unknown or malformed.
        WorktreeError: If the current directory was removed.
    """
    from tasks_lib.errors import WorktreeError

    try:
        return project_at(Path.cwd(), looks=looks)
    except FileNotFoundError:
        raise WorktreeError("the current directory is gone", hint="cd elsewhere") from None


def project_at(path: Path, *, looks: bool = False) -> Project:
    """
    Return the project around the directory *path*.

    Raises:
        GitError: If it is not in a repository that we can work in.
        SettingsError: If a setting is unknown or malformed.
        FileNotFoundError: If *path* does not exist.
    """
    from tasks_lib.git.repository import Repository
    from tasks_lib.settings import load
    from tasks_lib.worktrees.project import Project

    repository = Repository.find(path)
    return Project(repository, load(repository.main, team_settings(repository.main), os.environ), looks)


def team_settings(main: Path) -> dict[str, Origin]:
    """
    Return the settings in Invoke's configuration files, by `section.key`.

    The project's file is always the main worktree's, so that a checked out branch cannot change settings.
    Invoke itself would read the file next to `tasks.py`, and in a standalone `Program` none.

    Raises:
        SettingsError: If a file cannot be parsed, or one of our sections is not a mapping.
    """
    from tasks_lib.errors import SettingsError
    from tasks_lib.settings import Origin

    config = Config(lazy=True, project_location=main)
    levels = (
        (config.load_system, "/etc/invoke.yaml"),
        (config.load_user, "~/.invoke.yaml"),
        (config.load_project, "invoke.yaml"),
    )
    found: dict[str, Origin] = {}
    for load_level, layer in levels:
        before = _flat(config)
        try:
            load_level()
            after = _flat(config)
        except Exception as error:  # noqa: BLE001 - each format's parser has its own errors
            raise SettingsError(f"{layer} cannot be read", why=str(error)) from None
        found |= {key: Origin(value, layer) for key, value in after.items() if before.get(key) != value}
    return found


def _flat(config: Config) -> dict[str, Any]:
    return {
        f"{section}.{key}": value
        for section in SECTIONS
        if section in config
        for key, value in _section(config, section).items()
    }


def _section(config: Config, name: str) -> dict[str, Any]:
    value = _plain(config[name])
    if not isinstance(value, dict | None):
        raise TypeError(f"section `{name}` is not a mapping")
    return value or {}


def _plain(value: Any) -> Any:
    """Return Invoke's mapping proxies as dictionaries."""
    return {key: _plain(item) for key, item in value.items()} if hasattr(value, "items") else value
