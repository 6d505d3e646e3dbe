"""
Pull another server's data into the current worktree's database, or into the golden template.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.databases.copy.result import CloneSummary
from tasks_lib.errors import GoldentreeError, SettingsError
from tasks_lib.output import format_size
from tasks_lib.plan import Plan, Step
from tasks_lib.toolchains.base import Command
from tasks_lib.toolchains.run import run
from tasks_lib.worktrees.env.guard import require_own_database
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.registry import current_time
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.removal.removal_record import RemovalRecord
from tasks_lib.worktrees.steps.run_once import clear_ran
from tasks_lib.worktrees.steps.toolchain import command_environment, toolchain_steps
from tasks_lib.worktrees.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks_lib.databases.golden.pull import Pull, PullResult
    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project

_INTERRUPTED = "the pulled database either has its final name already or was deleted"


@dataclass
class DatabasePull:
    """
    The source and the target of a pull.

    Attributes:
        source: The masked URL of the database that is read.
        target: The name of the database that is replaced.
        masked: Whether personal data is masked.
        pulled: The result, once the plan has run.
    """

    source: str
    target: str
    masked: bool
    pulled: PullResult = field(init=False)

    @property
    def title(self) -> str:
        """The title of the step that pulls."""
        return f"pull {self.source} into {self.target}" + ("" if self.masked else ", unmasked")


@contextmanager
def plan_pull(project: Project, narrator: Narrator, *, unmasked: bool) -> Iterator[Planned[DatabasePull]]:
    """
    Plan to replace the current worktree's database. The `with` body runs under the worktree's lock.

    The previous database is parked, so that `worktree.undo` can restore it. The branch's migration tool runs on the
    new one.

    Raises:
        GoldentreeError: If the database cannot be pulled. Nothing was changed.
    """
    from tasks_lib.databases.golden import pull as golden_pull

    slug, path = project.require_record_here().slug, project.repository.current
    with project.registry.working_on(slug):
        # Read again: the previous holder of the lock may have changed it.
        record = project.require_record_here()
        require_own_database(project, record, path, os.environ)
        request = _request(project, narrator, removal_record.timestamp(), unmasked=unmasked)
        golden_pull.check_pull(request)
        pull = _describe(request, record.identity.database)
        removal = RemovalRecord.of_databases(record, path, record.identity.branch, request.now)
        plan = Plan(
            [
                _PullIntoWorktree(project, request, removal, pull).step(),
                *toolchain_steps(Target(project, record, path, narrator), every_time=True),
            ],
            interrupted=_INTERRUPTED,
            hint="fix it, then run:\ninv db.migrate",
        )
        yield Planned(pull, (plan,))


def plan_pull_golden(
    project: Project, narrator: Narrator, *, unmasked: bool, evict_idle: bool
) -> Planned[DatabasePull]:
    """
    Plan to replace the golden template, or to create it. The previous one is parked.

    Args:
        evict_idle: End idle sessions on golden.

    Raises:
        GoldentreeError: If the database cannot be pulled. Nothing was changed.
    """
    from tasks_lib.databases.golden import pull as golden_pull

    request = _request(project, narrator, removal_record.timestamp(), unmasked=unmasked)
    golden_pull.check_pull(request)
    golden_pull.check_golden_replaceable(request.source, evict_idle=evict_idle)
    pull = _describe(request, request.source.golden)

    def do() -> str:
        pull.pulled = golden_pull.pull_into_golden(request, evict_idle=evict_idle)
        return _remark(pull.pulled)

    return Planned(pull, (Plan([Step(pull.title, do)], interrupted=_INTERRUPTED),))


@dataclass(frozen=True)
class _PullIntoWorktree:
    """The step that replaces a worktree's database. The database part cleans up after itself, so it has no undo."""

    project: Project
    request: Pull
    removal: RemovalRecord
    pull: DatabasePull

    def step(self) -> Step:
        return Step(self.pull.title, self.do)

    def do(self) -> str:
        from tasks_lib.databases.golden import pull as golden_pull

        slug, registry = self.removal.slug, self.project.registry
        removal_record.write(self.project, self.removal)
        # First, because a run that is killed right after the pull must not count as migrated.
        clear_ran(registry, slug, {"migrate", "generate"})
        try:
            self.pull.pulled = pulled = golden_pull.pull_into_clone(self.request, self.pull.target, slug=slug)
        except BaseException:
            # Ctrl-C may arrive after the previous database was parked; undo needs the record then.
            with suppress(GoldentreeError):
                if not golden_pull.is_parked(self.request):
                    removal_record.delete(self.project, self.removal)
            raise
        registry.update(slug, clone=CloneSummary("pull", pulled.seconds, pulled.bytes, current_time()))
        return _remark(pulled)


def _remark(pulled: PullResult) -> str:
    return f"{pulled.tables} tables, {pulled.rows} rows, {format_size(pulled.bytes)}"


def _describe(request: Pull, target: str) -> DatabasePull:
    return DatabasePull(request.remote.server.url.masked, target, masked=request.mask is not None)


def _request(project: Project, narrator: Narrator, pulled_at: str, *, unmasked: bool) -> Pull:
    from tasks_lib.databases.golden.pull import Pull
    from tasks_lib.databases.golden.pull_source import PullSource

    if project.settings.pull_url is None:
        raise SettingsError(
            "PULL_DATABASE_URL is not set",
            why="it names the database whose data is pulled",
            hint="set it in the environment, or in the main worktree's .env",
        )
    mask = None if unmasked else _find_mask(project, narrator)
    remote = PullSource.parse(project.settings.pull_url)
    return Pull(project.source(), remote, pulled_at, mask, narrator.detail, narrator.progress)


def _find_mask(project: Project, narrator: Narrator) -> Callable[[DatabaseUrl], None]:
    """
    Return the function that masks the database at a URL, by the SQL file or command in the settings.

    Raises:
        SettingsError: If no mask is set, or its file does not exist.
    """
    mask, main = project.settings.pull_mask, project.repository.main
    if mask is None:
        raise SettingsError(
            "no mask is configured for pulled data",
            why="everyone who can log in to this server could read real people's data",
            hint="set WORKTREE_PULL_MASK to an SQL file or a command, or add --unmasked",
        )
    file = main / mask
    # A command may also end in .sql: `psql -f mask.sql`.
    is_sql = file.suffix == ".sql" and file.is_file()
    if not is_sql and mask.endswith(".sql") and " " not in mask:
        raise SettingsError(f"WORKTREE_PULL_MASK names `{mask}`, which does not exist", why=f"looked in {main}")

    def mask_database(url: DatabaseUrl) -> None:
        narrator.detail(f"masking by {mask}")
        environment = command_environment(project, url, main)
        # Terse, because the details of an error would print rows of real people.
        quiet = ("--no-psqlrc", "--quiet", "--set", "VERBOSITY=terse")
        psql = ("psql", *quiet, "--set", "ON_ERROR_STOP=1", "--single-transaction")
        argv = (*psql, "--output", os.devnull, "--file", str(file)) if is_sql else ("sh", "-c", mask)
        run(
            Command(argv, main),
            env=environment,
            on_line=narrator.relay,
            hint="fix the mask, then run the command again",
        )

    return mask_database
