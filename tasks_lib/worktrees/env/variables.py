"""
Say which database each variable of a worktree leads to: its own, one that it must not touch, or another one.

Foreign databases are golden, the main worktree's and those of other worktrees. A variable that leads to one is renamed
or refused.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from tasks_lib.errors import EnvFileError, ServerError, SettingsError
from tasks_lib.files import read_foreign_file
from tasks_lib.settings.references import find_references, replace_database, resolve
from tasks_lib.settings.values import OWN_ENV_FILES
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.env_files import leads_out, list_env_files, list_other_configuration
from tasks_lib.worktrees.identity import companion_database

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.settings.references import Reference
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

Whose = Literal["own", "companion", "foreign", "other"]

GOLDEN = "the golden template"
MAIN = "the main worktree's database"

ENVIRONMENT = "environment"
"""The source of exported variables."""

_LOCAL = re.compile(r"|localhost|127\.\d+\.\d+\.\d+|::1|0\.0\.0\.0|host\.docker\.internal|[/@].*")
_DATABASE_WORD = re.compile(r"DB|DATABASE|PG|POSTGRES|SQL|GOLDEN", re.IGNORECASE)
_POOLER_PORTS = ("6432", "6543")


@dataclass(frozen=True)
class DatabaseVariable:
    """
    A variable that names a database, and whose database that is.

    Attributes:
        whose: `own` and `companion` for this worktree's, `foreign`, or `other` for any other one.
        what: The database in words, such as "the golden template".
        replacement: The database of this worktree that takes a foreign one's place; empty if there is none.
        kept: Whether `worktree.keep_env` says to leave it alone.
        here: Whether it is on the server of the clones.
        in_main: The same variable of the main worktree, if that leads to the server of the clones and this one does
            not.
    """

    reference: Reference
    whose: Whose
    what: str
    replacement: str = ""
    kept: bool = False
    here: bool = True
    in_main: Reference | None = None

    @property
    def wrong(self) -> bool:
        """Whether it must not stay as it is."""
        return self.whose == "foreign" and not self.kept

    def describe(self) -> str:
        """Return a clause such as "`DB_NAME` in `.env` names `app_dev`, the main worktree's database"."""
        reference = self.reference
        place = "is exported and" if reference.source == ENVIRONMENT else f"in `{reference.source}`"
        return f"`{reference.key}` {place} names `{reference.database}`, {self.what}"


@dataclass(frozen=True)
class _Address:
    """The server of the clones; no hosts if it is unknown."""

    hosts: tuple[str, ...] = ()
    port: str = "5432"

    @classmethod
    def of(cls, url: DatabaseUrl | None) -> _Address:
        if url is None:
            return cls()
        hosts = url.parameters.get("host") or url.parameters.get("hostaddr") or "localhost"
        return cls(tuple(hosts.lower().split(",")), url.parameters.get("port", "5432"))

    def has(self, reference: Reference) -> bool:
        """Whether *reference* is there. Where that cannot be told, it counts as being there."""
        host, port = reference.host.lower(), reference.port or "5432"
        if not self.hosts or not (host or reference.port):
            return True
        if any(map(_LOCAL.fullmatch, self.hosts)):
            # A name without a dot is a container's: inside of compose, the same server has another name and port.
            container = not _LOCAL.fullmatch(host) and not re.search(r"[.:]", host)
            socket = host.startswith(("/", "@")) and not reference.port
            return container or socket or (bool(_LOCAL.fullmatch(host)) and port == self.port)
        direct = {ours.replace("-pooler.", ".") for ours in self.hosts}
        return host.replace("-pooler.", ".") in direct and port in (self.port, *_POOLER_PORTS)


@dataclass(frozen=True)
class KnownDatabases:
    """
    The databases that a worktree's variables may name, by name.

    Attributes:
        own: The worktree's own database.
        companions: Its companion databases.
        foreign: What each foreign database is, and which of the worktree's databases takes its place.
        elsewhere: The variables that name the main worktree's database on another server than the clones'.
        primary: The variables that name the main worktree's database on the server of the clones.
        address: The server of the clones.
        keep: Keys to leave alone.
    """

    own: str
    companions: frozenset[str]
    foreign: Mapping[str, tuple[str, str]]
    elsewhere: tuple[Reference, ...]
    primary: tuple[Reference, ...]
    address: _Address
    keep: frozenset[str]

    def find(self, values: Mapping[str, str], source: str) -> list[DatabaseVariable]:
        """Return the variables among the resolved *values* that name a database."""
        found = find_references(values, source, self.foreign)
        if source == ENVIRONMENT:  # LOGNAME and others may be the same word as the database's name
            found = [item for item in found if item.form != "value" or _DATABASE_WORD.search(item.key)]
        return [self._classify(reference) for reference in found]

    def rename(self, text: str, name: str) -> tuple[str, list[str]]:
        """
        Rename each foreign database in the env file *text*; every other character stays.

        Args:
            name: The file, for errors.

        Returns:
            The new text, and the keys that changed.

        Raises:
            EnvFileError: If *text* has a line that dotenv cannot parse.
        """
        changed: dict[str, None] = {}
        for force in (False, True):  # first the variables that a URL is made of, then what still leads there
            found = self.find(resolve(dotenv_file.parse(text), {}), name)
            new = {
                variable.reference.key: (variable.reference, variable.replacement)
                for variable in found
                if variable.wrong and variable.replacement
            }
            before = text
            changes = {
                key: partial(replace_database, reference=reference, name=own, force=force)
                for key, (reference, own) in new.items()
            }
            text = dotenv_file.substitute(text, changes, name=name)
            was, now = dotenv_file.parse(before), dotenv_file.parse(text)
            changed |= dict.fromkeys(key for key in new if was[key] != now[key])
        return text, list(changed)

    def _classify(self, reference: Reference) -> DatabaseVariable:
        name, kept = reference.database, reference.key in self.keep
        if not self.address.has(reference):
            return self._classify_elsewhere(reference, kept=kept)
        if name == self.own:
            return DatabaseVariable(reference, "own", "its own database", "", kept)
        if name in self.companions:
            return DatabaseVariable(reference, "companion", "its own companion database", "", kept)
        if name in self.foreign:
            what, replacement = self.foreign[name]
            return DatabaseVariable(reference, "foreign", what, replacement, kept)
        return DatabaseVariable(reference, "other", "a database that all worktrees share", "", kept)

    def _classify_elsewhere(self, reference: Reference, *, kept: bool) -> DatabaseVariable:
        address = f"{reference.host}:{reference.port}" if reference.port else reference.host
        place = (reference.source, reference.key)
        in_main = next((other for other in self.primary if (other.source, other.key) == place), None)
        if in_main:
            what = f"a database on another server than the main worktree's, {address}"
        elif any(
            other.database == reference.database and (reference.plain or (other.source, other.key) == place)
            for other in self.elsewhere
        ):
            what = f"the main worktree's database on another server, {address}"
        else:
            what = f"a database on another server, {address}"
            return DatabaseVariable(reference, "other", what, "", kept, here=False)
        return DatabaseVariable(reference, "foreign", what, "", kept, here=False, in_main=in_main)


def known_databases(
    project: Project, record: Record, server: DatabaseUrl | None, of_main: Sequence[Reference] | None = None
) -> KnownDatabases:
    """
    Return the databases that the variables of the worktree of *record* may name.

    Args:
        server: The server of the clones; None if it is not running, and then every variable counts as being there.
        of_main: What `find_variables_of_main` returns, for callers that need it for many records.

    Raises:
        SettingsError: If the main worktree's env files name several databases, and it is not clear which is cloned.
        EnvFileError: If an env file cannot be read.
    """
    from tasks_lib.databases.server.url import DatabaseUrl

    settings, slug, own = project.settings, record.slug, record.identity.database
    of_main = find_variables_of_main(project) if of_main is None else of_main
    address = _Address.of(server)
    configured = DatabaseUrl.parse(settings.database_url).database if settings.database_url else None
    foreign: dict[str, tuple[str, str]] = {}
    companions = {}
    others = [other for other in project.registry.records() if other.slug != slug]
    for companion in settings.companions:
        mine = companions[companion.name] = companion_database(companion.name, slug)
        what = f"{MAIN} of companion `{companion.name}`"
        foreign |= dict.fromkeys(_spellings(companion.name, of_main), (what, mine))
        foreign |= {
            reference.database: (what, mine)
            for reference in of_main
            if reference.key == companion.env and address.has(reference)
        }
        if companion.template:
            foreign[companion.template] = (f"the template of companion `{companion.name}`", mine)
        for other in others:
            name = companion_database(companion.name, other.slug)
            foreign[name] = (f"companion `{companion.name}` of worktree `{other.identity.branch}`", mine)
    primary = choose_main_database(
        [
            reference
            for reference in of_main
            if reference.database not in foreign and reference.key not in settings.keep_env
        ],
        configured,
    )
    if configured:
        foreign.setdefault(configured, (MAIN, own))
    local = tuple(reference for reference in primary if address.has(reference))
    for reference in local:
        foreign[reference.database] = (MAIN, own)
    for other in others:
        foreign[other.identity.database] = (f"the database of worktree `{other.identity.branch}`", own)
    for golden in (record.golden, settings.template):
        foreign[golden] = (GOLDEN, own)
    foreign = {name: found for name, found in foreign.items() if name not in {own, *companions.values()}}
    elsewhere = tuple(reference for reference in primary if reference not in local)
    return KnownDatabases(
        own,
        frozenset(companions.values()),
        foreign,
        elsewhere,
        local,
        address,
        frozenset(settings.keep_env),
    )


def running_server_url(project: Project) -> DatabaseUrl | None:
    """Return the URL of the server of the clones; None if it is the embedded one and not running."""
    from tasks_lib.databases.server.from_settings import running_server

    with suppress(ServerError):
        return running_server(project.settings).url
    return None


def find_variables_of_main(project: Project) -> list[Reference]:
    """
    Return the variables of the main worktree's env files that name a database; if none does, those exported there.

    Raises:
        EnvFileError, GitError: If they cannot be read.
    """
    if "variables of main" not in project.cache:
        main = project.repository.main
        texts = {name: dotenv_file.read(main / name, strict=False) for name in list_env_files(main)}
        written = [
            reference
            for name, text in texts.items()
            for reference in find_references(resolve(dotenv_file.parse(text), {}), name)
        ]
        exported = find_references(dict(os.environ), ENVIRONMENT)
        project.cache["variables of main"] = written or ([] if project.repository.linked else exported)
    found: list[Reference] = project.cache["variables of main"]
    return found


def find_shared_databases(project: Project) -> list[Reference]:
    """
    Return variables of the main worktree that name databases which all worktrees would share, one for each.

    These are on the main worktree's server, and neither its own, nor golden, nor a companion.

    Raises:
        EnvFileError, GitError: If the env files cannot be read.
    """
    settings, references = project.settings, find_variables_of_main(project)
    try:
        own = choose_main_database(references)
    except SettingsError:
        return []  # it is unclear which is whose
    known = {reference.database for reference in own} | {settings.template}
    for companion in settings.companions:
        known |= {*_spellings(companion.name, references), companion.template or ""}
    servers = {(reference.host, reference.port) for reference in own}
    shared = {
        reference.database: reference
        for reference in reversed(references)
        if reference.database not in known and (not reference.host or (reference.host, reference.port) in servers)
    }
    return list(shared.values())[::-1]


def choose_main_database(references: Sequence[Reference], configured: str | None = None) -> list[Reference]:
    """
    Return those of *references* that name the main worktree's own database.

    These are the plain ones at the root (`DATABASE_URL`, `DB_NAME`); without such, any others at the root; without
    such, those of nested env files.

    Args:
        configured: The database of the setting `database_url`, which decides between several.

    Raises:
        SettingsError: If none is plain and at the root, and the others name several databases.
    """
    usable = [reference for reference in references if not reference.for_tests]
    root = [reference for reference in usable if "/" not in reference.source]
    if plain := [reference for reference in root if reference.plain]:
        return plain
    nested = [reference for reference in usable if reference.plain]
    chosen = root or nested or usable
    chosen = [reference for reference in chosen if reference.database == configured] or chosen
    if len({reference.database for reference in chosen}) > 1:
        listed = "\n".join(f"{item.key} in {item.source}: {item.database}" for item in chosen)
        raise SettingsError(
            "the main worktree's env files name several databases, and it is unclear which of them golden is a copy of",
            why=listed,
            hint="set DATABASE_URL in the main worktree's .env, and name the others by `db.companions` in invoke.yaml",
        )
    return chosen


def read_variables(
    project: Project,
    path: Path,
    known: KnownDatabases,
    environ: Mapping[str, str],
    files: Iterable[str] | None = None,
) -> list[DatabaseVariable]:
    """
    Return each variable that names a database: exported ones, and those of the env files of the worktree at *path*.

    Args:
        environ: The process environment of an application in that worktree.
        files: The env files to read, by default all; one that does not exist is skipped.

    Raises:
        EnvFileError, GitError: If a file cannot be read.
    """
    texts = {
        name: dotenv_file.read(path / name, strict=False) for name in (list_env_files(path) if files is None else files)
    }
    exported = known.find(dict(environ), ENVIRONMENT)
    return exported + find_in_texts(project, known, texts, {name for name in texts if leads_out(path, name)}, environ)


def find_in_texts(
    project: Project,
    known: KnownDatabases,
    texts: Mapping[str, str],
    outside: Collection[str],
    environ: Mapping[str, str],
) -> list[DatabaseVariable]:
    """
    Return the variables of the env files *texts* that name a database.

    Left out are a key of the file that all worktrees share by a link, if the worktree's own file overrides it, and an
    encrypted value, because an application uses the decrypted one that is exported.

    Args:
        outside: The files that are links out of the worktree.
    """
    own = dotenv_file.parse(texts.get(project.env_name, ""))
    return [
        variable
        for name, text in texts.items()
        for variable in known.find(resolve(dotenv_file.parse(text), environ), name)
        if not (name in outside and name == project.shared_env_name and variable.reference.key in own)
    ]


def suggest_companion(reference: Reference) -> str:
    """Return the line for `invoke.yaml` that gives each worktree its own database in place of *reference*'s."""
    name, key = name_companion(reference)
    return f"db: {{companions: [{{name: {name}, env: {key}}}]}}"


def name_companion(reference: Reference) -> tuple[str, str]:
    """Return the name and the key of the companion that takes the place of *reference*'s database."""
    name = re.sub(r"[^a-z0-9]+", "_", reference.database.lower()).strip("_")
    key = reference.key
    if reference.has_plain_key or reference.form != "url":
        # A companion's key holds a URL and occurs once; `.env.test` and `apps/api/.env` have their names to tell them.
        file = reference.source.removesuffix(".env") if reference.source != ".env" else name
        words = [word for word in re.split(r"[^A-Za-z0-9]+", file) if word not in ("", "env", "apps", "packages")]
        key = "_".join([*(words or [name]), "DATABASE_URL"]).upper()
    return name, key


def find_mentions(path: Path, known: KnownDatabases) -> list[tuple[str, str]]:
    """
    Return where configuration that this tool does not edit names a foreign database.

    Returns:
        `file:line` of the first mention in a file, relative to the worktree at *path*, and a clause on the database;
        or a file and why it cannot be read.
    """
    if not known.foreign:
        return []
    names = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, known.foreign))})(?![\w-])")
    places: dict[tuple[str, str], int] = {}
    unread: list[tuple[str, str]] = []
    for file in list_other_configuration(path):
        try:
            lines = read_foreign_file(path / file).decode(errors="replace").splitlines()
        except OSError as error:
            unread.append((file, f"not read: {error.strerror}"))
            continue
        for number, line in enumerate(lines, 1):
            if re.search("database|postgres|db", line, re.IGNORECASE):
                for found in names.findall(line.partition("#")[0]):
                    places.setdefault((file, found), number)  # compose files name it many times
    found_at = [(f"{file}:{number}", f"`{name}`, {known.foreign[name][0]}") for (file, name), number in places.items()]
    return found_at + unread


def require_no_foreign(variables: Iterable[DatabaseVariable], *, renamed_by: str = "") -> None:
    """
    Refuse variables that lead to golden, or to the database of the main worktree or another worktree.

    Args:
        renamed_by: The command that renames what can be renamed, for the hint. Without one, renaming has failed.

    Raises:
        EnvFileError: If there is one.
    """
    wrong = [variable for variable in variables if variable.wrong]
    if wrong:
        raise EnvFileError(
            wrong[0].describe(),
            why="\n".join(
                ["a worktree must not touch that database", *(f"so does {other.describe()}" for other in wrong[1:])]
            ),
            hint=format_cure(wrong, renamed_by=renamed_by),
        )


def format_cure(wrong: Sequence[DatabaseVariable], *, renamed_by: str = "") -> str:
    """
    Return what cures *wrong*: a command, or lines for `invoke.yaml` or the main worktree's env file.

    Args:
        renamed_by: As in `require_no_foreign`.
    """
    exported = [variable.reference.key for variable in wrong if variable.reference.source == ENVIRONMENT]
    if exported:
        return f"unset {' '.join(exported)}"
    unchanged = [variable for variable in wrong if not variable.replacement and not variable.in_main]
    if unchanged:
        return (
            "name the application's server in the main worktree's .env, so that clones are made there:\n"
            "DATABASE_URL=postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    if renamed_by and all(variable.replacement for variable in wrong):
        return renamed_by
    lines: dict[str, dict[str, str]] = {}
    for variable in wrong:
        reference = variable.in_main or variable.reference
        values = {reference.key: "{database_url}" if reference.form == "url" else "{database}"}
        if variable.in_main:
            values |= {key: f"{{db_{part}}}" for part, key in reference.family}
        lines.setdefault(reference.source, {}).update(values)
    rules = {
        source: ", ".join(f'{key}: "{value}"' for key, value in values.items()) for source, values in lines.items()
    }
    own = [f"  env: {{{rules[source]}}}" for source in rules if source in OWN_ENV_FILES]
    further = [f'    "{source}": {{{rules[source]}}}' for source in rules if source not in OWN_ENV_FILES]
    return "\n".join(["in invoke.yaml:", "worktree:", *own, *(["  env_files:", *further] if further else [])])


def replace_exported(known: KnownDatabases, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the exported variables that name a foreign database, renamed to this worktree's."""
    found = known.find(dict(environ), ENVIRONMENT)
    return {
        variable.reference.key: replace_database(
            environ[variable.reference.key], variable.reference, variable.replacement, force=True
        )
        for variable in found
        if variable.wrong and variable.replacement
    }


def _spellings(name: str, references: Iterable[Reference]) -> set[str]:
    """Return the databases among *references* that are called *name* but for case and punctuation."""
    databases = {reference.database for reference in references}
    return {name, *(found for found in databases if re.sub(r"[^a-z0-9]+", "_", found.lower()).strip("_") == name)}
