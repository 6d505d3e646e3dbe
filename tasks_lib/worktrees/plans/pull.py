"""
Pulling another server's data into this worktree's database, or into the golden template.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError, SettingsError
from tasks_lib.output import size
from tasks_lib.plan import Plan, Step
from tasks_lib.toolchains.base import Command
from tasks_lib.toolchains.run import run
from tasks_lib.worktrees.env import guard
from tasks_lib.worktrees.registry import now
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.steps import run_once
from tasks_lib.worktrees.steps import toolchain as tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks_lib.databases.golden.pull import Pull, PullResult
    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project


@dataclass
class Pulling:
    """
    A planned pull.

    Attributes:
        source: The masked URL of what is read.
        into: The name of the database whose place it takes.
        pulled: What became of it, once the plan has run.
    """

    source: str
    into: str
    masked: bool
    plan: Plan = field(init=False)
    pulled: PullResult = field(init=False)


@contextmanager
def plan_pull(project: Project, narrator: Narrator, *, unmasked: bool) -> Iterator[Pulling]:
    """
    Plan to pull into the database of the worktree that we stand in; hold the worktree's lock meanwhile.

    The database that was is parked; `worktree.undo` brings it back. Then the branch's tools run on the new one.

    Raises:
        GoldentreeError: If anything stands in the way; nothing was changed then.
    """
    from tasks_lib.databases.golden import pull as databases

    slug = project.require_record_here().slug
    here = project.repository.here
    with project.registry.working_on(slug):
        # Looked up again: whoever held the lock until now may have changed it.
        record = project.require_record_here()
        guard.require_own_database(project, record, here, os.environ)
        database = record.identity.database
        wanted = _wanted(project, narrator, removal_record.timestamp(), unmasked=unmasked)
        databases.check_pull(wanted)
        pulling = Pulling(wanted.remote.server.url.masked, database, masked=wanted.mask is not None)

        def do() -> str:
            branch = record.identity.branch
            note = removal_record.RemovalRecord(
                slug, wanted.now, str(here), branch, None, None, record, only_databases=True
            )
            removal_record.write(project, note)
            # Before: killed right after it, nothing may count as migrated.
            run_once.forget(project.registry, slug, {"migrate", "generate"})
            try:
                pulling.pulled = found = databases.pull_into_clone(wanted, database, slug=slug)
            except BaseException:
                # Ctrl-C may come when the old one is parked already.
                with suppress(GoldentreeError):
                    if not databases.is_parked(wanted):
                        removal_record.delete(project, note)
                raise
            summary = {"method": "pull", "seconds": found.seconds, "bytes": found.bytes, "created": now()}
            project.registry.update(slug, clone=summary)
            return _remark(found)

        toolchain = tools.steps(project, record, here, narrator, hint="mend it, then: inv db.migrate", every_time=True)
        pulling.plan = Plan([Step(_title(pulling), do), *toolchain], interrupted=_INTERRUPTED)
        yield pulling


def plan_pull_golden(project: Project, narrator: Narrator, *, unmasked: bool, evict_idle: bool) -> Pulling:
    """
    Plan to pull into the golden template, which is made where there is none; the one that was is parked.

    Args:
        evict_idle: End idle sessions on golden.

    Raises:
        GoldentreeError: If anything stands in the way; nothing was changed then.
    """
    from tasks_lib.databases.golden import pull as databases

    wanted = _wanted(project, narrator, now(), unmasked=unmasked)
    databases.check_pull(wanted)
    databases.check_golden_replaceable(wanted.source, evict_idle=evict_idle)
    pulling = Pulling(wanted.remote.server.url.masked, wanted.source.golden, masked=wanted.mask is not None)

    def do() -> str:
        pulling.pulled = databases.pull_into_golden(wanted, evict_idle=evict_idle)
        return _remark(pulling.pulled)

    pulling.plan = Plan([Step(_title(pulling), do)], interrupted=_INTERRUPTED)
    return pulling


_INTERRUPTED = "either it had its final name already, or nothing of it is left"


def _title(pulling: Pulling) -> str:
    return f"pull {pulling.source} into {pulling.into}" + ("" if pulling.masked else ", unmasked")


def _remark(pulled: PullResult) -> str:
    return f"{pulled.tables} tables, {pulled.rows} rows, {size(pulled.bytes)}"


def _wanted(project: Project, narrator: Narrator, moment: str, *, unmasked: bool) -> Pull:
    from tasks_lib.databases.golden.pull import Pull
    from tasks_lib.databases.golden.pull_source import PullSource

    if project.settings.pull_url is None:
        raise SettingsError(
            "PULL_DATABASE_URL is not set",
            why="it names the database whose data is pulled",
            hint="set it in the environment, or in the main worktree's .env",
        )
    mask = None if unmasked else _mask(project, narrator)
    remote = PullSource.parse(project.settings.pull_url)
    return Pull(project.source(), remote, moment, mask, narrator.detail, narrator.at)


def _mask(project: Project, narrator: Narrator) -> Callable[[DatabaseUrl], None]:
    """
    Return what masks the database at a URL: the SQL file or the command that the settings name.

    Raises:
        SettingsError: If they name none.
    """
    mask, main = project.settings.pull_mask, project.repository.main
    if mask is None:
        raise SettingsError(
            "nothing is there to mask what is pulled",
            why="real people's data would be open to everybody who can log in here",
            hint="set WORKTREE_PULL_MASK to an SQL file or a command, or add --unmasked",
        )
    file = main / mask
    # A command may end so, too: `psql -f mask.sql`.
    is_sql = file.suffix == ".sql" and file.is_file()
    if not is_sql and mask.endswith(".sql") and " " not in mask:
        raise SettingsError(f"WORKTREE_PULL_MASK names `{mask}`, which is not there", why=f"looked in {main}")

    def run_it(url: DatabaseUrl) -> None:
        narrator.detail(f"masking by {mask}")
        environment = tools.environment(project, url, main)
        # Terse: the details of an error are rows of real people.
        quiet = ("--no-psqlrc", "--quiet", "--set", "VERBOSITY=terse")
        psql = ("psql", *quiet, "--set", "ON_ERROR_STOP=1", "--single-transaction")
        argv = (*psql, "--output", os.devnull, "--file", str(file)) if is_sql else ("sh", "-c", mask)
        run(Command(argv, main), env=environment, on_line=narrator.relay, hint="mend it, then run the same command")

    return run_it
