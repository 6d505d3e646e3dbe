"""
What the user configured, and where each value came from.

Team settings stand in the main worktree's `invoke.yaml`, personal ones in its env file, and the
process environment wins over both. `table` lists them all; `values` reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import SettingsError
from tasks_lib.settings import values
from tasks_lib.settings.table import CLONE_METHODS, ENV_FIELDS, ENV_STYLES, PREFIX_BYTES, SETTINGS
from tasks_lib.settings.values import Companion, Origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from tasks_lib.settings.table import Setting

__all__ = ["ENV_FIELDS", "SETTINGS", "Companion", "Origin", "Settings", "env_values", "load", "project_name"]


@dataclass(frozen=True)
class Settings:
    """
    The effective settings of one repository.

    Attributes:
        main: The main worktree.
        project: Its directory's name as `[a-z0-9_]+`.
        root: Absolute directory for new worktrees, or None to place them beside the main worktree.
        golden_max_age: How old a snapshot may be that is cloned without looking whether golden has changed.
        migrate, generate: As configured: None to detect, empty to do nothing.
        env_style: A key of `ENV_STYLES`.
        origins: For every setting's name, its layer.
    """

    main: Path
    project: str
    database_url: str | None = field(repr=False)
    template: str
    prefix: str
    clone_method: str
    golden_max_age: timedelta
    spares: int
    companions: tuple[Companion, ...]
    migrate: str | None
    generate: str | None
    generate_to: str | None
    pull_url: str | None = field(repr=False)
    pull_mask: str | None
    ledger_url: str | None = field(repr=False)
    root: Path | None
    env_style: str
    env: Mapping[str, str]
    copy: tuple[str, ...]
    link: tuple[str, ...]
    write: Mapping[str, str]
    after_setup: tuple[str, ...]
    before_remove: tuple[str, ...]
    keep_removed: timedelta
    origins: Mapping[str, str]

    @property
    def env_files(self) -> tuple[str, ...]:
        """The env files that an application reads, those that win first; the first is rewritten."""
        return ENV_STYLES[self.env_style]


def load(main: Path, team: Mapping[str, Origin], environ: Mapping[str, str]) -> Settings:
    """
    Combine the layers: environment over env file over *team* over defaults.

    Args:
        main: The main worktree.
        team: `section.key` to value, as the configuration files gave them.
        environ: The process environment.

    Raises:
        SettingsError: On an unknown key or a value that cannot be meant.
    """
    known = {setting.key: setting for setting in SETTINGS if setting.key}
    for key, origin in team.items():
        if key not in known:
            raise SettingsError(
                f"unknown setting `{key}` in {origin.layer}",
                why="a misspelt key would be ignored in silence",
                hint=f"the settings are: {', '.join(sorted(known))}",
            )
    style = known["worktree.env_style"]
    chosen = _find(style, team, _personal(main, (".env.local", ".env")), environ)
    env_style = values.choice(chosen, "env style", ENV_STYLES)
    personal = _personal(main, ENV_STYLES[env_style])
    found = {setting.name: _find(setting, team, personal, environ) for setting in SETTINGS} | {style.name: chosen}
    origins = {name: origin.layer for name, origin in found.items()}
    project = project_name(main)

    def text(name: str) -> str | None:
        return values.text(found[name], name)

    template, prefix, root = text("template") or f"{project}_latest", text("prefix"), text("root")
    return Settings(
        main=main,
        project=project,
        database_url=text("database_url"),
        template=template,
        prefix=values.prefix(prefix) if prefix else _words(template.removesuffix("_latest"))[:PREFIX_BYTES],
        clone_method=values.choice(found["clone_method"], "clone method", CLONE_METHODS),
        golden_max_age=values.duration(found["golden_max_age"], "WORKTREE_GOLDEN_MAX_AGE", default="0"),
        spares=values.count(found["spares"]),
        companions=values.companions(found["companions"]),
        migrate=values.command(found["migrate"], "migrate"),
        generate=values.command(found["generate"], "generate"),
        generate_to=text("generate_to"),
        pull_url=text("pull_url"),
        pull_mask=text("pull_mask"),
        ledger_url=text("ledger_url"),
        root=(main / Path(root).expanduser()).resolve() if root else None,
        env_style=env_style,
        env=values.env_templates(found["env"]),
        copy=values.paths(found["copy"], "copy", default=("seed.env",)),
        link=values.paths(found["link"], "link", default=()),
        write=values.file_templates(found["write"]),
        after_setup=values.commands(found["after_setup"], "after_setup"),
        before_remove=values.commands(found["before_remove"], "before_remove"),
        keep_removed=values.duration(found["keep_removed"], "WORKTREE_KEEP_REMOVED", default="7d"),
        origins=origins,
    )


def env_values(path: Path) -> dict[str, str]:
    """
    Return the values that an application reads from the env file *path*, nothing where there is none.

    Raises:
        SettingsError: If the file cannot be read, or is not UTF-8 text.
    """
    from dotenv import dotenv_values

    try:
        found = dotenv_values(path, interpolate=False, encoding="utf-8-sig") if path.is_file() else {}
        if "${" in (found.get("DATABASE_URL") or ""):
            # `postgresql://app:${POSTGRES_PASSWORD}@…` is common. Nothing else is expanded: a command's `${X}`
            # is its shell's business.
            found["DATABASE_URL"] = dotenv_values(path, encoding="utf-8-sig")["DATABASE_URL"]
    except UnicodeDecodeError as error:
        raise SettingsError(f"`{path}` is not UTF-8 text", why=str(error), hint="save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"`{path}` cannot be read: {error.strerror}") from None
    return {key: value for key, value in found.items() if value is not None}


def project_name(main: Path) -> str:
    """Return the name of *main*'s directory as lower-case letters, digits and underscores."""
    return _words(main.name)


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "project"


def _personal(main: Path, files: Sequence[str]) -> dict[str, Origin]:
    """Return what the env files of the main worktree say; those that win come first."""
    found: dict[str, Origin] = {}
    for name in reversed(files):
        found |= {key: Origin(value, name) for key, value in env_values(main / name).items() if value}
    return found


def _find(
    setting: Setting, team: Mapping[str, Origin], personal: Mapping[str, Origin], environ: Mapping[str, str]
) -> Origin:
    if setting.env and environ.get(setting.env):
        return Origin(environ[setting.env], "environment")
    if setting.env and setting.env in personal:
        return personal[setting.env]
    if setting.key and team.get(setting.key, Origin(None, "")).value is not None:
        return team[setting.key]
    return Origin(None, "default")
