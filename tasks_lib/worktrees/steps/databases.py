"""
The databases of one worktree: its own, which its application uses, and its companions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from tasks_lib.databases.copy.result import CloneSummary
from tasks_lib.errors import GoldenMissingError, SettingsError
from tasks_lib.plan import Step
from tasks_lib.worktrees import identity
from tasks_lib.worktrees.registry import current_time
from tasks_lib.worktrees.steps.background import start_cleanup
from tasks_lib.worktrees.steps.run_once import clear_ran

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.databases.copy.result import CloneResult
    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.settings import Companion
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.target import Target


@dataclass(frozen=True)
class BuildRequest:
    """
    A database to create.

    Attributes:
        comment: Its ownership comment.
        removed_at: The timestamp of the removal record for a previous database of the same name, which is parked.
        report: Called with a line of text for anything that takes long.
    """

    source: Source
    name: str
    comment: OwnershipComment
    options: CloneOptions
    report: Callable[[str], object]
    removed_at: str = ""


class Origin(Protocol):
    """
    What a database is created from: `FromTemplate` or `Empty`.

    Attributes:
        template: The golden template, empty for none.
    """

    @property
    def template(self) -> str: ...  # noqa: D102 - see the class

    def title(self, name: str) -> str:
        """Return what creating the database *name* is called, in the imperative."""

    def check(self, source: Source, name: str, slug: str, options: CloneOptions, *, rebuild: bool) -> None:
        """Check that the database can be created, or exists already unless *rebuild*, changing nothing."""

    def build(self, request: BuildRequest) -> CloneResult:
        """Create the database."""

    def rebuild(self, request: BuildRequest) -> CloneResult:
        """Create the database and park the previous one."""


@dataclass(frozen=True)
class FromTemplate:
    """Databases that are cloned from a golden template."""

    template: str

    def title(self, name: str) -> str:
        """Return what cloning is called."""
        return f"clone {self.template} into {name}"

    def check(self, source: Source, name: str, slug: str, options: CloneOptions, *, rebuild: bool) -> None:
        """Check that the template can be cloned."""
        from tasks_lib.databases.clone.clone import check_clone

        check_clone(source, name, options, slug=slug, rebuild=rebuild)

    def build(self, request: BuildRequest) -> CloneResult:
        """Clone the template."""
        from tasks_lib.databases.clone import clone

        return clone.build(request.source, request.name, request.comment, request.options, request.report)

    def rebuild(self, request: BuildRequest) -> CloneResult:
        """Clone the template and park the previous database."""
        from tasks_lib.databases.clone import clone

        return clone.rebuild(
            request.source,
            request.name,
            request.comment,
            request.options,
            request.report,
            removed_at=request.removed_at,
        )


@dataclass(frozen=True)
class Empty:
    """Databases that are created empty."""

    template: str = ""

    def title(self, name: str) -> str:
        """Return what creating an empty database is called."""
        return f"create {name}, empty"

    def check(self, source: Source, name: str, slug: str, options: CloneOptions, *, rebuild: bool) -> None:  # noqa: ARG002 - as for a template
        """Check that an empty database can be created."""
        from tasks_lib.databases.clone.empty import check_empty

        check_empty(source, name, slug=slug)

    def build(self, request: BuildRequest) -> CloneResult:
        """Create an empty database."""
        from tasks_lib.databases.clone.empty import build_empty

        return build_empty(request.source, request.name, request.comment, request.report)

    def rebuild(self, request: BuildRequest) -> CloneResult:
        """Park the previous database and create an empty one."""
        from tasks_lib.databases.clone.park import park

        parked = park(
            request.source.server,
            request.source.owner(request.comment.slug),
            removed_at=request.removed_at,
            report=request.report,
            only={request.name},
        )
        built = self.build(request)
        return replace(built, parked=next((old.name for old in parked if old.database == request.name), ""))


@dataclass(frozen=True)
class Database:
    """
    A database of a worktree, existing or planned.

    Attributes:
        origin: What it is created from.
        one_off: The steps that run once per database, and again after a rebuild (see `run_once`).
        recorded: Whether the worktree's record describes how it was created; true for the worktree's own.
    """

    project: Project
    slug: str
    name: str
    origin: Origin
    one_off: frozenset[str]
    recorded: bool

    @property
    def title(self) -> str:
        """What creating it is called, in the imperative."""
        return self.origin.title(self.name)

    @property
    def source(self) -> Source:
        """The server and the golden template that it is created from."""
        # An empty database must not depend on the configured golden template.
        return replace(self.project.source(), golden=self.origin.template)

    @property
    def url(self) -> DatabaseUrl:
        """Its URL."""
        return self.project.server.url.with_database(self.name)

    def check(self, options: CloneOptions, *, rebuild: bool = False) -> None:
        """
        Check that the database can be created, or exists already unless *rebuild*, changing nothing.

        Raises:
            ServerError, GoldenMissingError, OwnershipError, DatabaseError: If neither is the case.
        """
        self.origin.check(self.source, self.name, self.slug, options, rebuild=rebuild)

    def exists(self) -> bool:
        """
        Whether it exists and is complete.

        Raises:
            OwnershipError: If a database of that name is not this worktree's.
        """
        from tasks_lib.databases.clone import clone

        return clone.is_complete(self.project.server, self.name, self.project.owner(self.slug))

    def size(self) -> int:
        """
        Return its size on disk in bytes.

        Raises:
            DatabaseError: If it does not exist.
        """
        from tasks_lib.databases.compare import queries

        return queries.read_size_and_table_count(self.project.server, self.name)[0]

    def build(self, options: CloneOptions, narrator: Narrator) -> CloneResult:
        """
        Create it.

        Raises:
            DatabaseError: If it could not be created. Nothing is left behind.
        """
        return self._record_built(self.origin.build(self._request(options, narrator)), narrator)

    def rebuild(self, options: CloneOptions, narrator: Narrator, *, removed_at: str) -> CloneResult:
        """
        Create it again, and park the previous one for the removal record with the timestamp *removed_at*.

        Raises:
            DatabaseError: If it could not be created. The previous one keeps its name.
        """
        return self._record_built(
            self.origin.rebuild(self._request(options, narrator, removed_at=removed_at)), narrator
        )

    def drop(self) -> None:
        """
        Drop it.

        Raises:
            OwnershipError: If it is not provably this worktree's.
        """
        from tasks_lib.databases.clone import clone

        clone.drop(self.project.server, self.name, self.project.owner(self.slug), golden=self.origin.template)

    def _request(self, options: CloneOptions, narrator: Narrator, *, removed_at: str = "") -> BuildRequest:
        comment = self.source.new_comment("clone", slug=self.slug)
        return BuildRequest(self.source, self.name, comment, options, narrator.detail, removed_at)

    def _record_built(self, built: CloneResult, narrator: Narrator) -> CloneResult:
        registry = self.project.registry
        clear_ran(registry, self.slug, self.one_off)
        if self.recorded:
            registry.update(self.slug, clone=built.summary(current_time()))
        for warning in built.warnings:
            narrator.say(f"warning: {warning}")
        if built.built_snapshot or (self.origin.template and self.project.settings.spares):
            start_cleanup(self.project)
        return built


@dataclass(frozen=True)
class CompanionDatabase(Database):
    """An additional database that the settings ask for."""

    companion: Companion

    def check(self, options: CloneOptions, *, rebuild: bool = False) -> None:
        """
        Check that the database can be created, or exists already unless *rebuild*, changing nothing.

        Raises:
            GoldenMissingError, ServerError, OwnershipError, DatabaseError: If neither is the case.
        """
        try:
            super().check(options, rebuild=rebuild)
        except GoldenMissingError as error:
            name = self.companion.name
            hint = f"create it, or correct the template of `{name}` in `db.companions`"
            raise GoldenMissingError(error.what, why=error.why, hint=hint) from None


def own_database(project: Project, record: Record) -> Database:
    """Return the worktree's own database."""
    return Database(
        project,
        record.slug,
        record.identity.database,
        FromTemplate(record.golden),
        frozenset({"migrate", "generate"}),
        recorded=True,
    )


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
    for companion in project.settings.companions:
        name = identity.companion_database(companion.name, record.slug)
        if name == record.identity.database:
            raise SettingsError(
                f"companion `{companion.name}` and the worktree's own database would both be named `{name}`",
                hint="rename the companion in `db.companions`, or set WORKTREE_DB_PREFIX",
            )
        origin = FromTemplate(companion.template) if companion.template else Empty()
        one_off = frozenset({one_off_name(companion)})
        found.append(
            CompanionDatabase(project, record.slug, name, origin, one_off, recorded=False, companion=companion)
        )
    return found


def one_off_name(companion: Companion) -> str:
    """Return the name under which the record lists the companion's setup command after it has run."""
    return f"set up {companion.name}"


def check_databases(target: Target, options: CloneOptions, *, rebuild: bool = False) -> None:
    """
    Check that all databases of the worktree can be created, or exist already unless *rebuild*, changing nothing.

    Raises:
        SettingsError, ServerError, GoldenMissingError, OwnershipError, DatabaseError: If one cannot.
    """
    project, record = target.project, target.record
    for database in [own_database(project, record), *companion_databases(project, record)]:
        database.check(options, rebuild=rebuild)


def own_database_step(target: Target, options: CloneOptions) -> Step:
    """Return the step that clones the golden template as the worktree's own database."""
    return _BuildOwnDatabase(target, own_database(target.project, target.record), options).step()


def companion_database_steps(target: Target, options: CloneOptions) -> list[Step]:
    """Return the steps that create the worktree's companion databases."""
    databases = companion_databases(target.project, target.record)
    return [_BuildDatabase(target, database, options).step() for database in databases]


@dataclass
class _BuildDatabase:
    """
    Creates a database.

    Attributes:
        begun: Whether this run began to create it. Otherwise undo must not drop it: it is another run's.
    """

    target: Target
    database: Database
    options: CloneOptions
    begun: bool = False

    def step(self) -> Step:
        return Step(self.database.title, self.do, self.undo, self.done)

    def do(self) -> str:
        self.begun = True
        return format_result(self.database.build(self.options, self.target.narrator))

    def undo(self) -> None:
        if self.begun:
            self.database.drop()

    def done(self) -> bool:
        return self.database.exists()


class _BuildOwnDatabase(_BuildDatabase):
    """Creates the worktree's own database, which its record describes."""

    def do(self) -> str:
        from tasks_lib.databases.clone import clone

        if not self.database.exists():
            return super().do()
        # An earlier run created it and was killed before it could write the record.
        clone.drop_abandoned_temporaries(self.database.source, self.target.narrator.detail)
        kept = CloneSummary("kept", seconds=0, bytes=self.database.size(), created_at=current_time())
        self.target.registry.update(self.target.slug, clone=kept)
        return "kept"

    def undo(self) -> None:
        super().undo()
        if self.begun:
            self.target.registry.update(self.target.slug, clone=None)

    def done(self) -> bool:
        record = self.target.find_record()
        return record is not None and record.clone is not None and super().done()


def format_result(built: CloneResult) -> str:
    """Return a remark on how a database was created."""
    how = f"by {built.method}, as {built.reason}" if built.method in {"template", "dump"} else built.reason
    return f"{how}: {1000 * built.seconds:.0f} ms"
