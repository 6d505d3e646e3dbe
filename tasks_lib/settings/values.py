"""
Values as they were found, checked and turned into what the code works with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import SettingsError
from tasks_lib.settings.table import DEFAULT_ENV, ENV_FIELDS, ENV_STYLES, OFF, PREFIX_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection

_OWN_ENV_FILES = frozenset(files[0] for files in ENV_STYLES.values())

_FIELD = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Origin:
    """A value as it was found, and the layer it came from: `environment`, a file's name, or `default`."""

    value: Any
    layer: str


@dataclass(frozen=True)
class Companion:
    """
    A further database that every worktree gets.

    Attributes:
        name: How its databases' names begin.
        env: The key that names it in the env file.
        template: The database that it is cloned from; None for an empty one.
        setup: A command that is run once it is there, with *env* exported.
    """

    name: str
    env: str
    template: str | None = None
    setup: str | None = None


def text(origin: Origin, name: str) -> str | None:
    """Return a text, None where it is not set or empty."""
    if origin.value is not None and not isinstance(origin.value, str):
        raise _malformed(name, origin, "text")
    return origin.value or None


def command(origin: Origin, name: str) -> str | None:
    """Return a command: None to detect it, empty to do nothing."""
    value = text(origin, name)
    return "" if value == OFF else value


def choice(origin: Origin, name: str, choices: Collection[str]) -> str:
    """Return one of *choices*, the first where it is not set."""
    value = text(origin, name) or next(iter(choices))
    if value not in choices:
        what = name.replace("_", " ")
        raise SettingsError(f"unknown {what} `{value}` in {origin.layer}", hint=f"use one of: {', '.join(choices)}")
    return value


def duration(origin: Origin, name: str, *, default: str) -> timedelta:
    """Return a time span such as `90s` or `7d`; a bare number counts seconds."""
    found = re.fullmatch(r"(\d{1,6})([smhd]?)", str(default if origin.value in (None, "") else origin.value))
    if not found:
        raise SettingsError(
            f"`{origin.value}` in {origin.layer} is no duration", hint=f"write {name} as 90s, 15m, 2h or 1d"
        )
    unit = {"m": "minutes", "h": "hours", "d": "days"}.get(found[2], "seconds")
    return timedelta(**{unit: int(found[1])})


def count(origin: Origin) -> int:
    """Return a number from 0 to 99."""
    if not re.fullmatch(r"\d{1,2}", str(origin.value or 0)):
        raise SettingsError(
            f"`{origin.value}` in {origin.layer} is no number of spares", hint="set WORKTREE_SPARES to 0 to 99"
        )
    return int(origin.value or 0)


def prefix(value: str, *, hint: str = "set WORKTREE_DB_PREFIX to such a name") -> str:
    """Return what a database's name may begin with."""
    if not re.fullmatch(rf"[a-z0-9_]{{1,{PREFIX_BYTES}}}", value):
        raise SettingsError(
            f"`{value}` cannot begin a database's name",
            why=f"a prefix is at most {PREFIX_BYTES} lower-case letters, digits and underscores",
            hint=hint,
        )
    return value


def env_templates(origin: Origin) -> dict[str, str]:
    """Return the keys that are rewritten in the env file, and their templates."""
    value = _mapping(origin, "env", "a mapping of KEY to template")
    for key, template in value.items():
        if key.startswith("WORKTREE_") and key in DEFAULT_ENV:
            raise SettingsError(f"`worktree.env` in {origin.layer} rewrites `{key}`", why="the tool reads it back")
        try:
            template.format(**dict.fromkeys(ENV_FIELDS, ""))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise _unfillable(key, origin, str(error)) from None
    return {**DEFAULT_ENV, **value}


def file_templates(origin: Origin) -> dict[str, str]:
    """
    Return the files to write, and their templates.

    Only `{word}` is a field there: JSON's own braces need no doubling.
    """
    value = _mapping(origin, "write", "a mapping of path to template")
    for path, template in value.items():
        _require_inside(path, "write", origin)
        unknown = next((found[1] for found in _FIELD.finditer(template) if found[1] not in ENV_FIELDS), None)
        if unknown:
            raise _unfillable(path, origin, f"unknown field `{unknown}`")
    return value


def paths(origin: Origin, name: str, *, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return paths that lie in the main worktree."""
    value = _list(origin, name, default, "a list of paths")
    for path in value:
        _require_inside(path, name, origin)
    return value


def commands(origin: Origin, name: str) -> tuple[str, ...]:
    """Return commands, given as a list or as a single one."""
    if isinstance(origin.value, str):
        return (origin.value,) if origin.value else ()
    return _list(origin, name, (), "a command or a list of commands")


def companions(origin: Origin) -> tuple[Companion, ...]:
    """Return the companion databases."""
    value = origin.value if origin.value is not None else []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _malformed("companions", origin, "a list of mappings with name, env, template and setup")
    found = []
    for one in value:
        unknown = one.keys() - Companion.__dataclass_fields__.keys()
        missing = {"name", "env"} - one.keys()
        if unknown or missing or not all(isinstance(part, str) and part for part in one.values()):
            raise SettingsError(
                f"a companion in {origin.layer} is not understood: {one}",
                why="it has a name and an env key, and may have a template and a setup command, each a text",
            )
        found.append(Companion(**one))
        prefix(one["name"], hint=f"rename the companion in {origin.layer}")
    for attribute in ("name", "env"):
        values = [getattr(one, attribute) for one in found]
        if twice := next((value for value in values if values.count(value) > 1 or value in DEFAULT_ENV), None):
            raise SettingsError(f"`{twice}` is used more than once by `db.companions` in {origin.layer}")
    return tuple(found)


def filled(template: str, fields: dict[str, str]) -> str:
    """Return the file template *template* with *fields* in it."""
    return _FIELD.sub(lambda found: fields[found[1]], template)


def _mapping(origin: Origin, name: str, expected: str) -> dict[str, str]:
    value = origin.value if origin.value is not None else {}
    if not isinstance(value, dict):
        raise _malformed(name, origin, expected)
    odd = next((key for key, part in value.items() if not isinstance(key, str) or not isinstance(part, str)), None)
    if odd is not None:
        raise SettingsError(
            f"`{odd}` of `worktree.{name}` in {origin.layer} is no text", why=f"found {value[odd]!r}", hint="quote it"
        )
    return value


def _list(origin: Origin, name: str, default: tuple[str, ...], expected: str) -> tuple[str, ...]:
    value = origin.value
    if value is None:
        return default
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise _malformed(name, origin, expected)
    return tuple(value)


def _require_inside(path: str, name: str, origin: Origin) -> None:
    if name != "copy" and path in _OWN_ENV_FILES:
        raise SettingsError(
            f"`worktree.{name}` in {origin.layer} names `{path}`",
            why="every worktree has one of its own; `worktree.env` names the keys that are rewritten there",
        )
    if path.strip("./") == "":
        raise SettingsError(f"`worktree.{name}` in {origin.layer} names no file: `{path}`")
    if path.startswith("/") or ".." in path.split("/"):
        raise SettingsError(
            f"path `{path}` of `worktree.{name}` in {origin.layer} leaves the worktree",
            why="only what lies in the main worktree is given to the others",
        )


def _unfillable(name: str, origin: Origin, why: str) -> SettingsError:
    return SettingsError(
        f"template of `{name}` in {origin.layer} cannot be filled in: {why}",
        hint="use " + ", ".join(f"{{{field}}}" for field in ENV_FIELDS),
    )


def _malformed(name: str, origin: Origin, expected: str) -> SettingsError:
    found = type(origin.value).__name__
    return SettingsError(f"setting `{name}` in {origin.layer} is not {expected}", why=f"found a value of type {found}")
