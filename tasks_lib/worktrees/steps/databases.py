"""
The databases of one worktree: its own, which its application works on, and its companions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldenMissingError, SettingsError
from tasks_lib.plan import Step
from tasks_lib.worktrees import identity
from tasks_lib.worktrees.registry import now
from tasks_lib.worktrees.steps.background import start_cleanup
from tasks_lib.worktrees.steps.run_once import clear_ran

if TYPE_CHECKING:
    from tasks_lib.databases.clone.clone import Clone
    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.settings import Companion
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Database:
    """
    A database that a worktree has, or is to have.

    Attributes:
        template: The golden template that it is cloned from, empty where it begins empty.
        one_off: What runs once on it, and again when it is made anew (see `once`).
    """

    project: Project
    slug: str
    name: str
    template: str
    one_off: frozenset[str]

    @property
    def source(self) -> Source:
        """What it is made from."""
        # Not the configured golden template, which an empty one has nothing to do with.
        return replace(self.project.source(), golden=self.template)

    @property
    def url(self) -> DatabaseUrl:
        """Its URL."""
        return self.project.server.url.with_database(self.name)

    def check(self) -> None:
        """
        Make sure, before any change, that it can be made or is there already.

        Raises:
            ServerError, GoldenMissingError, OwnershipError, DatabaseError: As the server says.
        """
        from tasks_lib.databases.clone import clone, empty

        if self.template:
            clone.check_clone(self.source, self.name, slug=self.slug)
        else:
            empty.check_empty(self.source, self.name, slug=self.slug)

    def exists(self) -> bool:
        """
        Whether it is there, complete.

        Raises:
            OwnershipError: If a database of that name is not this worktree's.
        """
        from tasks_lib.databases.clone import clone

        server, repository = self.project.server, self.project.registry.repository_id
        return clone.is_complete(server, self.name, repository=repository, slug=self.slug)

    def size(self) -> int:
        """
        Return its size on disk.

        Raises:
            DatabaseError: If it is not there.
        """
        from tasks_lib.databases.compare import queries

        return queries.read_size_and_table_count(self.project.server, self.name)[0]

    def build(self, wish: CloneOptions, narrator: Narrator) -> Clone:
        """
        Make it.

        Raises:
            DatabaseError: If it could not be made; nothing is left behind then.
        """
        from tasks_lib.databases.clone import clone, empty

        mark = self.source.mark("clone", slug=self.slug, created=now())
        if self.template:
            return self._made(clone.build(self.source, self.name, mark, wish, narrator.detail), narrator)
        return self._made(empty.build_empty(self.source, self.name, mark, narrator.detail), narrator)

    def rebuild(self, wish: CloneOptions, narrator: Narrator, *, moment: str) -> Clone:
        """
        Make it anew; what bears its name is parked at the *moment*.

        Raises:
            DatabaseError: If it could not be made; the old one bears the name then.
        """
        from tasks_lib.databases.clone import clone, empty, park

        mark = self.source.mark("clone", slug=self.slug, created=moment)
        if self.template:
            return self._made(clone.rebuild(self.source, self.name, mark, wish, narrator.detail), narrator)
        parked = park.park(
            self.project.server,
            repository=mark.repository,
            slug=self.slug,
            now=moment,
            report=narrator.detail,
            only={self.name},
        )
        made = self._made(empty.build_empty(self.source, self.name, mark, narrator.detail), narrator)
        return replace(made, parked=next((one.name for one in parked if one.database == self.name), ""))

    def drop(self) -> None:
        """
        Drop it.

        Raises:
            OwnershipError: If it is not provably this worktree's.
        """
        from tasks_lib.databases.clone import clone

        server, repository = self.project.server, self.project.registry.repository_id
        clone.drop(server, self.name, repository=repository, slug=self.slug, golden=self.template)

    def _made(self, made: Clone, narrator: Narrator) -> Clone:
        registry = self.project.registry
        clear_ran(registry, self.slug, self.one_off)
        if not isinstance(self, CompanionDatabase):
            summary = {"method": made.method, "seconds": made.seconds, "bytes": made.bytes, "created": now()}
            registry.update(self.slug, clone=summary)
        for warning in made.warnings:
            narrator.say(f"warning: {warning}")
        if made.outdated or (self.template and self.project.settings.spares):
            start_cleanup(self.project)
        return made


@dataclass(frozen=True)
class CompanionDatabase(Database):
    """One that stands beside the worktree's own."""

    companion: Companion

    def check(self) -> None:
        """
        Make sure, before any change, that it can be made or is there already.

        Raises:
            GoldenMissingError, ServerError, OwnershipError, DatabaseError: As the server says.
        """
        try:
            super().check()
        except GoldenMissingError as error:
            name = self.companion.name
            hint = f"create it, or correct the template of `{name}` in `db.companions`"
            raise GoldenMissingError(error.what, why=error.why, hint=hint) from None


def own_database(project: Project, record: Record) -> Database:
    """Return the worktree's own database."""
    return Database(project, record.slug, record.identity.database, record.golden, frozenset({"migrate", "generate"}))


def own_database_url(project: Project, record: Record) -> DatabaseUrl:
    """Return the URL of the worktree's own database."""
    return own_database(project, record).url


def companion_databases(project: Project, record: Record) -> list[CompanionDatabase]:
    """
    Return the worktree's companion databases, in the order of the settings.

    Raises:
        SettingsError: If one would have the name of the worktree's own database.
    """
    found = []
    for one in project.settings.companions:
        name = identity.companion_database(one.name, record.slug)
        if name == record.identity.database:
            raise SettingsError(
                f"companion `{one.name}` and the worktree's own database would both be named `{name}`",
                hint="rename the companion in `db.companions`, or set WORKTREE_DB_PREFIX",
            )
        found.append(
            CompanionDatabase(project, record.slug, name, one.template or "", frozenset({one_off_name(one)}), one)
        )
    return found


def one_off_name(companion: Companion) -> str:
    """Return what the record calls the companion's setup command, once it has run."""
    return f"set up {companion.name}"


def check_databases(project: Project, record: Record) -> None:
    """
    Make sure, before any change, that all databases of the worktree can be made or are there already.

    Raises:
        SettingsError, ServerError, GoldenMissingError, OwnershipError, DatabaseError: As the server says.
    """
    for database in [own_database(project, record), *companion_databases(project, record)]:
        database.check()


def own_database_step(project: Project, record: Record, narrator: Narrator, wish: CloneOptions) -> Step:
    """Return the step that clones the golden template as the worktree's own database."""
    database, registry = own_database(project, record), project.registry
    step = _step(database, narrator, wish)

    def do() -> str | None:
        from tasks_lib.databases.clone import clone

        if not database.exists():
            return step.do()
        # By a run that was killed before it could write so down.
        clone.drop_abandoned_temporaries(database.source, narrator.detail)
        kept = {"method": "kept", "seconds": 0, "bytes": database.size(), "created": now()}
        registry.update(record.slug, clone=kept)
        return "kept"

    def done() -> bool:
        found = registry.find(record.slug)
        return found is not None and found.clone is not None and step.done()

    return replace(step, do=do, done=done)


def companion_database_steps(project: Project, record: Record, narrator: Narrator, wish: CloneOptions) -> list[Step]:
    """Return the steps that make the worktree's companion databases."""
    return [_step(database, narrator, wish) for database in companion_databases(project, record)]


def _step(database: Database, narrator: Narrator, wish: CloneOptions) -> Step:
    built = False

    def do() -> str:
        nonlocal built
        built = True
        return format_result(database.build(wish, narrator))

    def undo() -> None:
        if built:
            database.drop()
            if not isinstance(database, CompanionDatabase):
                database.project.registry.update(database.slug, clone=None)

    return Step(build_title(database), do, undo, done=database.exists)


def build_title(database: Database) -> str:
    """Return what making *database* is called."""
    if database.template:
        return f"clone {database.template} into {database.name}"
    return f"create {database.name}, empty"


def format_result(made: Clone) -> str:
    """Return a remark on how a database was made."""
    how = f"by {made.method}, as {made.reason}" if made.method in {"template", "dump"} else made.reason
    return f"{how}: {1000 * made.seconds:.0f} ms"
