"""
From Invoke's world to ours: the project around the current directory, with its team settings.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from invoke.config import Config

from tasks_lib.settings import SETTINGS, Origin, load
from tasks_lib.worktrees.git import Repository
from tasks_lib.worktrees.project import Project

SECTIONS = tuple(dict.fromkeys(setting.key.partition(".")[0] for setting in SETTINGS if setting.key))


def project() -> Project:
    """
    Return the project around the current directory.

    Raises:
        GitError: If there is no repository to work in.
        SettingsError: If a setting is unknown or malformed.
    """
    repository = Repository.find(Path.cwd())
    return Project(repository, load(repository.main, team_settings(repository.main), os.environ))


def team_settings(main: Path) -> dict[str, Origin]:
    """
    Return what Invoke's configuration files say, by `section.key`.

    The project level is the main worktree's, wherever Invoke found the task file: a branch that is
    checked out must not bring settings of its own, and a standalone `Program` reads no project level at all.
    """
    config = Config(lazy=True, project_location=main)
    levels = (
        (config.load_system, "/etc/invoke.yaml"),
        (config.load_user, "~/.invoke.yaml"),
        (config.load_project, "invoke.yaml"),
    )
    found: dict[str, Origin] = {}
    for load_level, layer in levels:
        before = _flat(config)
        load_level()
        found |= {key: Origin(value, layer) for key, value in _flat(config).items() if before.get(key) != value}
    return found


def _flat(config: Config) -> dict[str, Any]:
    return {
        f"{section}.{key}": _plain(value)
        for section in SECTIONS
        if section in config
        for key, value in dict(config[section] or {}).items()
    }


def _plain(value: Any) -> Any:
    """Return Invoke's mapping proxies as dictionaries."""
    return {key: _plain(item) for key, item in value.items()} if hasattr(value, "items") else value
