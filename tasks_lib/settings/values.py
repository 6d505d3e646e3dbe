"""
Parse the raw values of settings.

Every parser takes the raw value with its origin and the setting's name for errors, and raises SettingsError for a value
that it does not accept. None and an empty text mean that the setting is not set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from string import Formatter
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

PREFIX_BYTES = 40
"""How much of PostgreSQL's 63 bytes a prefix may take; the rest is for a readable part and a hash."""

OFF = "none"
"""The word that turns a command off, because an empty value counts as not set."""

ENV_STYLES = {"copy": (".env",), "layered": (".env.development.local", ".env.local", ".env.development", ".env")}
"""
The env files of each style, in order of precedence; a linked worktree's own values are in the first.

The order of `layered` is that of Next.js in development (https://nextjs.org/docs/app/guides/environment-variables).
"""

ENV_FIELDS = (
    "branch",
    "database",
    "database_url",
    "db_host",
    "db_password",
    "db_port",
    "db_user",
    "dev_url",
    "number",
    "port",
    "session",
    "slug",
    "subdomain",
)
"""The fields of the templates in `worktree.env`, `worktree.env_files` and `worktree.write`; see `known_fields`."""

DEFAULT_ENV = {
    "PORT": "{port}",
    "DATABASE_URL": "{database_url}",
    "WORKTREE_SLUG": "{slug}",
    "WORKTREE_SUBDOMAIN": "{subdomain}",
    "WORKTREE_BRANCH": "{branch}",
}
"""Always rewritten; `worktree.env` adds keys and may replace the templates of `PORT` and `DATABASE_URL`."""

OWN_ENV_FILES = frozenset(files[0] for files in ENV_STYLES.values())
"""The env files that `worktree.env` is about."""

_REQUIRED = DEFAULT_ENV.keys() - {"PORT"}
"""Keys that say which worktree and which database it is; `worktree.keep_env` cannot keep main's values of them."""

# In a file, `{word}` is always a field; `{word:name}` is one only for these words, because `{a:1}` is JavaScript.
_FIELD = re.compile(r"\{([a-z_]+|(?:database|port|url):[^{}\s]+)\}")


@dataclass(frozen=True)
class Origin:
    """A raw value and the layer it came from: `environment`, a file's name, or `default`."""

    value: Any
    layer: str


@dataclass(frozen=True)
class Companion:
    """
    A further database of every worktree.

    Attributes:
        name: The prefix of its databases' names.
        env: The key that holds its URL in the env file.
        template: The database to clone, or None for an empty one.
        setup: A command to run once after it was created, with *env* exported.
    """

    name: str
    env: str
    template: str | None = None
    setup: str | None = None


@dataclass(frozen=True)
class HistoryTable:
    """
    How a migration tool that has no preset records what it has applied.

    Attributes:
        table: The migration history table, with its schema if the search path does not find it.
        key: The column that identifies a migration.
        files: A pattern of paths in the worktree, such as `db/migrations/*.sql`, that finds the migrations' files.
        pattern: A regular expression; what its group matches in a file's name is the migration's key.
    """

    table: str
    key: str
    files: str
    pattern: str = r"^([^.]+)"


def parse_text(origin: Origin, name: str) -> str | None:
    """Return a text, or None if it is not set."""
    if origin.value is not None and not isinstance(origin.value, str):
        raise _malformed(name, origin, "text")
    return origin.value or None


def parse_command(origin: Origin, name: str) -> str | None:
    """Return a command: None to detect it, empty to do nothing."""
    value = parse_text(origin, name)
    return "" if value == OFF else value


def parse_history(origin: Origin, name: str) -> HistoryTable | str | None:
    """Return the name of a preset, or a history table; None if it is not set."""
    if not isinstance(origin.value, dict):
        return parse_text(origin, name)
    value = _mapping(origin, name, "a preset, or a mapping with table, key, files and pattern")
    unknown = value.keys() - HistoryTable.__dataclass_fields__.keys()
    if unknown or {"table", "key", "files"} - value.keys():
        raise _malformed(name, origin, "a preset, or a mapping with table, key, files and pattern")
    history = HistoryTable(**value)
    _require_inside(history.files, name, origin)
    try:
        groups = re.compile(history.pattern).groups
    except re.error as error:
        raise SettingsError(f"the pattern of `db.history` in {origin.layer} cannot be read", why=str(error)) from None
    if groups != 1:
        raise SettingsError(
            f"the pattern of `db.history` in {origin.layer} has {groups} groups",
            why="what its one group matches in a file's name is the migration's key",
            hint=r"for `0001_create_contact.sql`, recorded as 0001, write:\npattern: ^(\d+)_",
        )
    return history


def parse_choice(*choices: str) -> Callable[[Origin, str], str]:
    """Return a parser that accepts one of *choices*."""

    def parse(origin: Origin, name: str) -> str:
        # YAML reads `true` and `false` as booleans.
        switch = Origin(str(origin.value).lower(), origin.layer) if isinstance(origin.value, bool) else origin
        value = parse_text(switch, name) or ""
        if value not in choices:
            what = name.replace("_", " ")
            raise SettingsError(f"unknown {what} `{value}` in {origin.layer}", hint=f"use one of: {', '.join(choices)}")
        return value

    return parse


def parse_duration(origin: Origin, name: str) -> timedelta:
    """Return a duration such as `90s` or `7d`; a bare number counts seconds."""
    found = re.fullmatch(r"(\d{1,6})([smhd]?)", str(origin.value))
    if not found:
        raise SettingsError(
            f"`{origin.value}` in {origin.layer} is not a duration", hint=f"write {name} as 90s, 15m, 2h or 1d"
        )
    unit = {"m": "minutes", "h": "hours", "d": "days"}.get(found[2], "seconds")
    return timedelta(**{unit: int(found[1])})


def parse_size(origin: Origin, name: str) -> int:
    """Return a size such as `100 MB` or `0` in bytes; a unit is 1024 of the one below it."""
    units = ("B", "kB", "MB", "GB")
    found = re.fullmatch(rf"(\d{{1,6}}) ?({'|'.join(units)})?", str(origin.value))
    if not found:
        raise SettingsError(
            f"`{origin.value}` in {origin.layer} is not a size", hint=f"write {name} as 0, 500 kB, 100 MB or 2 GB"
        )
    return int(found[1]) << (10 * units.index(found[2] or "B"))


def parse_count(origin: Origin, name: str) -> int:
    """Return a number from 0 to 99."""
    if not re.fullmatch(r"\d{1,2}", str(origin.value)):
        raise SettingsError(
            f"`{origin.value}` in {origin.layer} is not a number of {name}", hint=f"set {name} to a number from 0 to 99"
        )
    return int(origin.value)


def parse_prefix(origin: Origin, name: str) -> str | None:
    """Return the prefix of database names, or None if it is not set."""
    value = parse_text(origin, name)
    return value and require_prefix(value, hint="set WORKTREE_DB_PREFIX to such a name")


def require_prefix(value: str, *, hint: str) -> str:
    """
    Return *value* if a database's name may begin with it.

    Raises:
        SettingsError: If it may not.
    """
    if not re.fullmatch(rf"[a-z0-9_]{{1,{PREFIX_BYTES}}}", value):
        raise SettingsError(
            f"`{value}` cannot begin a database's name",
            why=f"a prefix is at most {PREFIX_BYTES} lower-case letters, digits and underscores",
            hint=hint,
        )
    return value


def parse_env_templates(origin: Origin, name: str) -> dict[str, str]:
    """Return the keys to rewrite in the env file, and their templates."""
    value = _mapping(origin, name, "a mapping of KEY to template")
    for key in value:
        if key.startswith("WORKTREE_") and key in DEFAULT_ENV:
            why = "goldentree reads this key back to identify the worktree"
            raise SettingsError(f"`worktree.env` in {origin.layer} rewrites `{key}`", why=why)
    return {**DEFAULT_ENV, **value}


def parse_env_file_rules(origin: Origin, name: str) -> dict[str, dict[str, str]]:
    """Return the keys to set in further env files, and their templates, by the file's path."""
    value = origin.value if origin.value is not None else {}
    if not isinstance(value, dict) or not all(isinstance(path, str) for path in value):
        raise _malformed(name, origin, "a mapping of path to a mapping of KEY to template")
    rules: dict[str, dict[str, str]] = {}
    for path, templates in value.items():
        _require_inside(path, name, origin)
        named = _mapping(Origin(templates, origin.layer), name, f"a mapping of KEY to template for `{path}`")
        rules.setdefault(PurePosixPath(path).as_posix(), {}).update(named)
    return rules


def parse_names(origin: Origin, name: str) -> tuple[str, ...]:
    """Return different names of lower-case letters, digits, `-` and `_`."""
    names = _list(origin, name, "a list of names")
    for text in names:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", text) or names.count(text) > 1:
            raise SettingsError(
                f"`{text}` of `worktree.{name}` in {origin.layer} is used twice or is not a name",
                why="a name has lower-case letters, digits, `-` and `_`, and begins with a letter",
            )
    return names


def parse_kept_keys(origin: Origin, name: str) -> tuple[str, ...]:
    """Return keys of env files that stay as they are."""
    keys = _list(origin, name, "a list of keys")
    if required := next((key for key in keys if key in _REQUIRED), None):
        raise SettingsError(
            f"`worktree.{name}` in {origin.layer} keeps `{required}`",
            why="every worktree has its own value, which says which worktree and which database it is",
        )
    return keys


def parse_file_templates(origin: Origin, name: str) -> dict[str, str]:
    """
    Return the files to write, and their templates.

    Only `{word}` and `{word:name}` are fields in them, so that JSON's braces need no doubling.
    """
    value = _mapping(origin, name, "a mapping of path to template")
    for path in value:
        _require_inside(path, name, origin)
    return value


def parse_paths(origin: Origin, name: str) -> tuple[str, ...]:
    """Return paths inside the main worktree."""
    paths = _list(origin, name, "a list of paths")
    for path in paths:
        _require_inside(path, name, origin)
    return paths


def parse_patterns(origin: Origin, name: str) -> tuple[str, ...]:
    """Return patterns of file names or paths."""
    return _list(origin, name, "a list of names or paths")


def parse_commands(origin: Origin, name: str) -> tuple[str, ...]:
    """Return commands, given as a list or as a single text."""
    if isinstance(origin.value, str):
        return (origin.value,) if origin.value else ()
    return _list(origin, name, "a command or a list of commands")


def parse_companions(origin: Origin, name: str) -> tuple[Companion, ...]:
    """Return the companion databases."""
    value = origin.value if origin.value is not None else []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _malformed(name, origin, "a list of mappings with name, env, template and setup")
    companions = []
    for item in value:
        unknown = item.keys() - Companion.__dataclass_fields__.keys()
        missing = {"name", "env"} - item.keys()
        if unknown or missing or not all(isinstance(part, str) and part for part in item.values()):
            raise SettingsError(
                f"cannot read a companion in {origin.layer}: {item}",
                why="a companion has a name and an env key, and may have a template and a setup command, each a text",
            )
        companions.append(Companion(**item))
        require_prefix(item["name"], hint=f"rename the companion in {origin.layer}")
    for attribute in ("name", "env"):
        values = [getattr(companion, attribute) for companion in companions]
        if twice := next((value for value in values if values.count(value) > 1 or value in DEFAULT_ENV), None):
            raise SettingsError(f"`{twice}` is used more than once by `db.companions` in {origin.layer}")
    return tuple(companions)


def known_fields(ports: Collection[str], companions: Collection[Companion]) -> tuple[str, ...]:
    """Return the names of all template fields: those of every repository, of named ports and of companions."""
    named = [f"{field}:{companion.name}" for companion in companions for field in ("database", "url")]
    return (*ENV_FIELDS, *named, *(f"port:{name}" for name in ports))


def require_fillable(
    templates: Mapping[str, str],
    fields: Collection[str],
    layer: str,
    substitute: Callable[[str, Mapping[str, str]], str],
) -> None:
    """
    Check that *substitute* can fill in each template.

    Args:
        templates: By the name of what they fill: a key or a path.
        layer: Where the templates are from, for the error.

    Raises:
        SettingsError: If one has a field that is not among *fields*, or a brace that is not closed.
    """
    for name, template in templates.items():
        try:
            substitute(template, dict.fromkeys(fields, ""))
        except (KeyError, ValueError) as error:
            why = f"unknown field `{{{error.args[0]}}}`" if isinstance(error, KeyError) else str(error)
            raise SettingsError(
                f"template of `{name}` in {layer} cannot be filled in: {why}",
                hint="use " + ", ".join(f"{{{field}}}" for field in fields),
            ) from None


def substitute_env_fields(template: str, fields: Mapping[str, str]) -> str:
    """
    Return the env template *template* with its fields filled in; `{{` and `}}` are braces.

    Raises:
        KeyError: If a field is not among *fields*.
        ValueError: If a brace is not closed.
    """
    parts = []
    for text, field, name, conversion in Formatter().parse(template):
        parts.append(text)
        if field is not None:
            parts.append(fields[field + (f"!{conversion}" if conversion else "") + (f":{name}" if name else "")])
    return "".join(parts)


def substitute_fields(template: str, fields: Mapping[str, str]) -> str:
    """
    Return the file template *template* with its fields filled in.

    Raises:
        KeyError: If a field is not among *fields*.
    """
    return _FIELD.sub(lambda found: fields[found[1]], template)


def _mapping(origin: Origin, name: str, expected: str) -> dict[str, str]:
    value = origin.value if origin.value is not None else {}
    if not isinstance(value, dict):
        raise _malformed(name, origin, expected)
    odd = next((key for key, part in value.items() if not isinstance(key, str) or not isinstance(part, str)), None)
    if odd is not None:
        raise SettingsError(
            f"`{odd}` of `worktree.{name}` in {origin.layer} is not text", why=f"found {value[odd]!r}", hint="quote it"
        )
    return value


def _list(origin: Origin, name: str, expected: str) -> tuple[str, ...]:
    value = origin.value if origin.value is not None else []
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise _malformed(name, origin, expected)
    return tuple(value)


def _require_inside(path: str, name: str, origin: Origin) -> None:
    if name in ("link", "write") and path in OWN_ENV_FILES:
        raise SettingsError(
            f"`worktree.{name}` in {origin.layer} names `{path}`",
            why="every worktree has its own; `worktree.env` names the keys that are rewritten there",
        )
    if path.strip("./") == "":
        raise SettingsError(f"`worktree.{name}` in {origin.layer} names no file: `{path}`")
    if path.startswith("/") or ".." in path.split("/"):
        raise SettingsError(
            f"path `{path}` of `worktree.{name}` in {origin.layer} leaves the worktree",
            why="worktrees only get files from inside the main worktree",
        )


def _malformed(name: str, origin: Origin, expected: str) -> SettingsError:
    found = type(origin.value).__name__
    return SettingsError(f"setting `{name}` in {origin.layer} is not {expected}", why=f"found a value of type {found}")
