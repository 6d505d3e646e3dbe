"""
What the user configured, and where each value came from.

Team settings stand in the main worktree's `invoke.yaml`, personal ones in its `.env`, and the
process environment wins over both. The table `SETTINGS` is the one list of them: loading,
`config.show`, `.env.example` and the README are held against it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

CLONE_METHODS = ("auto", "template", "dump")

PREFIX_BYTES = 40
"""Of the 63 that PostgreSQL gives a name; the rest is for the hash and a readable part."""

OFF = "none"
"""The word that switches a command off; an empty value counts as not set."""


@dataclass(frozen=True)
class Setting:
    """
    One row of the table of settings.

    Attributes:
        name: The attribute of `Settings`.
        key: `section.key` in `invoke.yaml`, or None for what must not stand in a committed file.
        env: The environment variable, also read from `.env`, or None for what is a list or a mapping.
        default: The default as people read it.
        why: One line on what it is for.
    """

    name: str
    key: str | None
    env: str | None
    default: str
    why: str


SETTINGS = (
    Setting("database_url", None, "DATABASE_URL", "the embedded server", "the PostgreSQL server and how to log in"),
    Setting("template", "db.template", "WORKTREE_TEMPLATE_DB", "<project>_latest", "the golden template"),
    Setting("prefix", "db.prefix", "WORKTREE_DB_PREFIX", "golden's name without _latest", "how clones' names begin"),
    Setting("clone_method", "db.clone_method", "WORKTREE_CLONE_METHOD", "auto", "auto, template or dump"),
    Setting("golden_max_age", "db.golden_max_age", "WORKTREE_GOLDEN_MAX_AGE", "0", "how old a clone's data may be"),
    Setting("spares", "db.spares", "WORKTREE_SPARES", "0", "clones kept ready in the background"),
    Setting("migrate", "db.migrate", "WORKTREE_MIGRATE", "detected", "migrate command, a preset's name, or none"),
    Setting("generate", "db.generate", "WORKTREE_GENERATE", "detected", "generate command, a preset's name, or none"),
    Setting("generate_to", "db.generate_to", "WORKTREE_GENERATE_TO", "the preset's", "where generated code goes"),
    Setting("root", "worktree.root", "WORKTREE_ROOT", "../<repo>-<branch>", "the directory that holds the worktrees"),
    Setting("env", "worktree.env", None, "PORT, DATABASE_URL, WORKTREE_*", "keys rewritten in the env file"),
    Setting("copy", "worktree.copy", None, "seed.env", "files copied from the main worktree, where they exist"),
    Setting("link", "worktree.link", None, "nothing", "paths linked to the main worktree's, where they exist"),
)

ENV_FIELDS = ("branch", "database", "database_url", "dev_url", "port", "session", "slug", "subdomain")
"""What `worktree.env` templates may name in braces."""

DEFAULT_ENV = {
    "PORT": "{port}",
    "DATABASE_URL": "{database_url}",
    "WORKTREE_SLUG": "{slug}",
    "WORKTREE_SUBDOMAIN": "{subdomain}",
    "WORKTREE_BRANCH": "{branch}",
}
"""Always rewritten; `worktree.env` adds keys and may replace `PORT`'s and `DATABASE_URL`'s templates."""


@dataclass(frozen=True)
class Origin:
    """A value as it was found and the layer it came from: `environment`, `.env`, a file's name, or `default`."""

    value: Any
    layer: str


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
    migrate: str | None
    generate: str | None
    generate_to: str | None
    root: Path | None
    env: Mapping[str, str]
    copy: tuple[str, ...]
    link: tuple[str, ...]
    origins: Mapping[str, str]


def load(main: Path, team: Mapping[str, Origin], environ: Mapping[str, str]) -> Settings:
    """
    Combine the layers: environment over `.env` over *team* over defaults.

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
    personal = env_values(main / ".env")
    found = {setting.name: _find(setting, team, personal, environ) for setting in SETTINGS}
    origins = {name: origin.layer for name, origin in found.items()}
    project = project_name(main)
    template = _text(found["template"], "template") or f"{project}_latest"
    prefix = _text(found["prefix"], "prefix")
    root = _text(found["root"], "root")
    return Settings(
        main=main,
        project=project,
        database_url=_text(found["database_url"], "database_url"),
        template=template,
        prefix=_checked_prefix(prefix) if prefix else _words(template.removesuffix("_latest"))[:PREFIX_BYTES],
        clone_method=_choice(_text(found["clone_method"], "clone_method") or "auto", found["clone_method"]),
        golden_max_age=_duration(found["golden_max_age"]),
        spares=_count(found["spares"]),
        migrate=_command(found["migrate"], "migrate"),
        generate=_command(found["generate"], "generate"),
        generate_to=_text(found["generate_to"], "generate_to"),
        root=(main / Path(root).expanduser()).resolve() if root else None,
        env=_env_templates(found["env"]),
        copy=_paths(found["copy"], "copy", default=("seed.env",)),
        link=_paths(found["link"], "link", default=()),
        origins=origins,
    )


def env_values(path: Path) -> dict[str, str]:
    """
    Return the values that an application reads from the env file *path*, nothing where there is none.

    Raises:
        SettingsError: If the file cannot be read, or is not UTF-8 text.
    """
    from dotenv import dotenv_values  # noqa: PLC0415 - only where a file is read

    try:
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig") if path.is_file() else {}
        if "${" in (values.get("DATABASE_URL") or ""):
            # `postgresql://app:${POSTGRES_PASSWORD}@…` is common. Nothing else is expanded: a command's `${X}`
            # is its shell's business.
            values["DATABASE_URL"] = dotenv_values(path, encoding="utf-8-sig")["DATABASE_URL"]
    except UnicodeDecodeError as error:
        raise SettingsError(f"`{path}` is not UTF-8 text", why=str(error), hint="save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"`{path}` cannot be read: {error.strerror}") from None
    return {key: value for key, value in values.items() if value is not None}


def project_name(main: Path) -> str:
    """Return the name of *main*'s directory as lower-case letters, digits and underscores."""
    return _words(main.name)


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "project"


def _find(
    setting: Setting, team: Mapping[str, Origin], personal: Mapping[str, str], environ: Mapping[str, str]
) -> Origin:
    if setting.env and environ.get(setting.env):
        return Origin(environ[setting.env], "environment")
    if setting.env and personal.get(setting.env):
        return Origin(personal[setting.env], ".env")
    if setting.key and team.get(setting.key, Origin(None, "")).value is not None:
        return team[setting.key]
    return Origin(None, "default")


def _text(origin: Origin, name: str) -> str | None:
    if origin.value is not None and not isinstance(origin.value, str):
        raise _malformed(name, origin, "text")
    return origin.value or None


def _command(origin: Origin, name: str) -> str | None:
    value = _text(origin, name)
    return "" if value == OFF else value


def _choice(value: str, origin: Origin) -> str:
    if value not in CLONE_METHODS:
        raise SettingsError(
            f"unknown clone method `{value}` in {origin.layer}", hint=f"use one of: {', '.join(CLONE_METHODS)}"
        )
    return value


def _duration(origin: Origin) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([smhd]?)", str(origin.value or 0))
    if not found:
        raise SettingsError(
            f"`{origin.value}` in {origin.layer} is no age", hint="write WORKTREE_GOLDEN_MAX_AGE as 90s, 15m, 2h or 1d"
        )
    return int(found[1]) * {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}.get(
        found[2] or "s", timedelta(days=1)
    )


def _count(origin: Origin) -> int:
    if not re.fullmatch(r"\d{1,2}", str(origin.value or 0)):
        raise SettingsError(
            f"`{origin.value}` in {origin.layer} is no number of spares", hint="set WORKTREE_SPARES to 0 to 99"
        )
    return int(origin.value or 0)


def _checked_prefix(prefix: str) -> str:
    if not re.fullmatch(rf"[a-z0-9_]{{1,{PREFIX_BYTES}}}", prefix):
        raise SettingsError(
            f"`{prefix}` cannot begin a database's name",
            why=f"a prefix is at most {PREFIX_BYTES} lower-case letters, digits and underscores",
            hint="set WORKTREE_DB_PREFIX to such a name",
        )
    return prefix


def _env_templates(origin: Origin) -> dict[str, str]:
    value = origin.value if origin.value is not None else {}
    if not isinstance(value, dict) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise _malformed("env", origin, "a mapping of KEY to template")
    for key, template in value.items():
        if key.startswith("WORKTREE_") and key in DEFAULT_ENV:
            raise SettingsError(f"`worktree.env` in {origin.layer} rewrites `{key}`", why="the tool reads it back")
        try:
            template.format(**dict.fromkeys(ENV_FIELDS, ""))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise SettingsError(
                f"template of `{key}` in {origin.layer} cannot be filled in: {error}",
                hint="use " + ", ".join(f"{{{name}}}" for name in ENV_FIELDS),
            ) from None
    return {**DEFAULT_ENV, **value}


def _paths(origin: Origin, name: str, *, default: tuple[str, ...]) -> tuple[str, ...]:
    value = origin.value
    if value is None:
        return default
    if not isinstance(value, list) or not all(isinstance(path, str) and path for path in value):
        raise _malformed(name, origin, "a list of paths")
    if name == "link" and ".env" in value:
        raise SettingsError(
            f"`worktree.link` in {origin.layer} names `.env`", why="every worktree writes one of its own"
        )
    for path in value:
        if path.startswith("/") or ".." in path.split("/"):
            raise SettingsError(
                f"path `{path}` of `worktree.{name}` in {origin.layer} leaves the worktree",
                why="only what lies in the main worktree is given to the others",
            )
    return tuple(value)


def _malformed(name: str, origin: Origin, expected: str) -> SettingsError:
    found = type(origin.value).__name__
    return SettingsError(f"setting `{name}` in {origin.layer} is not {expected}", why=f"found a value of type {found}")
