"""
Load the settings of a repository, and where each value came from.

Team settings are in the main worktree's `invoke.yaml`, personal ones in its env file, and the process environment wins
over both. `table` declares them all; `values` parses them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import SettingsError, find_cure
from tasks_lib.settings.references import derive_url, resolve
from tasks_lib.settings.table import SETTINGS
from tasks_lib.settings.values import (
    DEFAULT_ENV,
    ENV_STYLES,
    PREFIX_BYTES,
    Companion,
    HistoryTable,
    Origin,
    known_fields,
    require_fillable,
    substitute_env_fields,
    substitute_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from tasks_lib.settings.table import Setting

__all__ = ["SETTINGS", "Companion", "HistoryTable", "Origin", "Settings", "env_values", "load", "project_name"]


@dataclass(frozen=True)
class Settings:
    """
    The effective settings of one repository.

    Attributes:
        main: The main worktree.
        project: Its directory's name as `[a-z0-9_]+`.
        root: Absolute directory for new worktrees, or None to place them beside the main worktree.
        golden_max_age: The age up to which a snapshot is cloned without checking whether golden has changed.
        migrate, generate: None to detect the command, empty to do nothing.
        history: A preset's name, a history table, or None for what is detected.
        env_style: A key of `ENV_STYLES`.
        env: Templates of the keys in the worktree's env file.
        env_files: Templates of the keys in further env files, by the file's path in the worktree.
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
    migrate_always: str
    history: HistoryTable | str | None
    generate: str | None
    generate_to: str | None
    pull_url: str | None = field(repr=False)
    pull_mask: str | None
    ledger_url: str | None = field(repr=False)
    root: Path | None
    base: str | None
    submodules: str
    env_style: str
    env: Mapping[str, str]
    env_files: Mapping[str, Mapping[str, str]]
    keep_env: tuple[str, ...]
    ports: tuple[str, ...]
    copy: tuple[str, ...]
    link: tuple[str, ...]
    write: Mapping[str, str]
    after_setup: tuple[str, ...]
    before_remove: tuple[str, ...]
    keep_removed: timedelta
    keep_ignored: int
    discard: tuple[str, ...]
    origins: Mapping[str, str]

    @property
    def style_files(self) -> tuple[str, ...]:
        """The env files that an application reads, in order of precedence; the first is rewritten."""
        return ENV_STYLES[self.env_style]


def load(main: Path, team: Mapping[str, Origin], environ: Mapping[str, str]) -> Settings:
    """
    Combine the layers: environment over env file over *team* over defaults.

    Args:
        main: The main worktree.
        team: `section.key` to value, as the configuration files gave them.
        environ: The process environment.

    Raises:
        SettingsError: If a key is unknown or a value cannot be parsed.
    """
    known = {setting.key: setting for setting in SETTINGS if setting.key}
    for key, origin in team.items():
        if key not in known:
            raise SettingsError(
                f"unknown setting `{key}` in {origin.layer}",
                why="a misspelled key would have no effect",
                hint=f"the settings are: {', '.join(sorted(known))}",
            )
    style = known["worktree.env_style"]
    chosen = _find(style, team, _personal(main, (".env.local", ".env")), environ)
    personal = _personal(main, ENV_STYLES[style.read(chosen)])
    found = {setting.name: _find(setting, team, personal, environ) for setting in SETTINGS} | {style.name: chosen}
    if found["database_url"].value is None:
        found["database_url"] = _derive_database_url(main, ENV_STYLES[style.read(chosen)])
    parsed = {setting.name: setting.read(found[setting.name]) for setting in SETTINGS}
    project = project_name(main)
    # Three defaults depend on other values.
    parsed["template"] = parsed["template"] or f"{project}_latest"
    parsed["prefix"] = parsed["prefix"] or _words(parsed["template"].removesuffix("_latest"))[:PREFIX_BYTES]
    parsed["root"] = (main / Path(parsed["root"]).expanduser()).resolve() if parsed["root"] else None
    origins = {name: origin.layer for name, origin in found.items()}
    if "PORT" in parsed["keep_env"] and parsed["env"]["PORT"] == DEFAULT_ENV["PORT"]:
        del parsed["env"]["PORT"]
    _require_consistent_rules(parsed, origins)
    return Settings(main=main, project=project, origins=origins, **parsed)


def env_values(path: Path) -> dict[str, str]:
    """
    Return the values that an application reads from the env file *path*; empty if it does not exist.

    Raises:
        SettingsError: If the file cannot be read, or is not UTF-8 text.
    """
    from dotenv import dotenv_values

    try:
        found = dotenv_values(path, interpolate=False, encoding="utf-8-sig") if path.is_file() else {}
        if "${" in (found.get("DATABASE_URL") or ""):
            # `postgresql://app:${POSTGRES_PASSWORD}@…` is common. Nothing else is expanded: in a command, `${X}` is for
            # its shell.
            found["DATABASE_URL"] = dotenv_values(path, encoding="utf-8-sig")["DATABASE_URL"]
    except UnicodeDecodeError as error:
        raise SettingsError(f"`{path}` is not UTF-8 text", why=str(error), hint="save it as UTF-8") from None
    except OSError as error:
        cure = find_cure(str(error), path.parent)
        raise SettingsError(f"`{path}` cannot be read: {error.strerror}", hint=cure) from None
    return {key: value for key, value in found.items() if value is not None}


def project_name(main: Path) -> str:
    """Return the name of *main*'s directory as lower-case letters, digits and underscores."""
    return _words(main.name)


def _require_consistent_rules(parsed: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """
    Check the settings of env files and templates that depend on each other.

    Raises:
        SettingsError: If a template has an unknown field, or if two settings contradict each other.
    """
    fields = known_fields(parsed["ports"], parsed["companions"])
    require_fillable(parsed["env"], fields, origins["env"], substitute_env_fields)
    require_fillable(parsed["write"], fields, origins["write"], substitute_fields)
    layer = origins["env_files"]
    linked = {PurePosixPath(path) for path in parsed["link"]}
    for path, templates in parsed["env_files"].items():
        named = {f"{key}` in `{path}": template for key, template in templates.items()}
        require_fillable(named, fields, layer, substitute_env_fields)
        why = ""
        if path in ENV_STYLES[parsed["env_style"]][:2]:
            why = "every worktree has its own; `worktree.env` names the keys that are rewritten there"
        elif path in parsed["write"]:
            why = "`worktree.write` writes the whole file"
        elif linked & {PurePosixPath(path), *PurePosixPath(path).parents}:
            why = "`worktree.link` links it to the main worktree's, which would be changed"
        if why:
            raise SettingsError(f"`worktree.env_files` in {layer} names `{path}`", why=why)
    written = {*parsed["env"], *(companion.env for companion in parsed["companions"])}
    if both := sorted(written.union(*parsed["env_files"].values()) & set(parsed["keep_env"])):
        raise SettingsError(
            f"`worktree.keep_env` in {origins['keep_env']} keeps `{both[0]}`, which other settings rewrite",
            why="`worktree.env`, `worktree.env_files` and `db.companions` name the keys that are rewritten",
        )


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "project"


def _personal(main: Path, files: Sequence[str]) -> dict[str, Origin]:
    """Return the values of the main worktree's env files; the first file wins."""
    found: dict[str, Origin] = {}
    for name in reversed(files):
        found |= {key: Origin(value, name) for key, value in env_values(main / name).items() if value}
    return found


def _derive_database_url(main: Path, files: Sequence[str]) -> Origin:
    """Return the URL that the application's own variables (`POSTGRES_URL`, `DB_HOST`, ...) make, where they do."""
    for name in dict.fromkeys((*files, *ENV_STYLES["layered"])):  # Rails has only `.env.development`
        if derived := derive_url(resolve(env_values(main / name), {})):
            return Origin(derived[0], f"{derived[1]} in {name}")
    return Origin(None, "default")


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
