"""
Run the project's own migration tool on a worktree's own database: migrate and generate.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import DatabaseError, ServerError, ToolchainError
from tasks_lib.git.cli import CALLER, git_environment, run_git
from tasks_lib.plan import Step
from tasks_lib.toolchains.catalog import is_preset
from tasks_lib.toolchains.choose import find_history_toolchain, generate_command, is_skippable, migrate_command
from tasks_lib.toolchains.environment import child_environment, search_path
from tasks_lib.worktrees.env.fenced import run_fenced
from tasks_lib.worktrees.env.variables import known_databases, replace_exported
from tasks_lib.worktrees.steps.databases import own_database_url
from tasks_lib.worktrees.steps.env_file import worktree_values
from tasks_lib.worktrees.steps.run_once import clear_ran, run_once
from tasks_lib.worktrees.virtual_environments import is_active_elsewhere

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.toolchains.base import Command, Drift, Toolchain
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.target import Target


def toolchain_steps(target: Target, *, every_time: bool = False) -> list[Step]:
    """
    Return the steps that migrate and generate in the worktree.

    The main worktree's files decide which tool does it, so that a branch cannot bring its own commands.

    Args:
        every_time: Run them even if they have run on this database and no migration is known to be pending.

    Raises:
        ToolchainError: If the main worktree uses several migration tools and no setting says which.
    """
    project = target.project
    steps = []
    for which in ("migrate", "generate"):
        if found := find_command(project, project.repository.main, which):
            tool = _RunTool(target, which, every_time)
            step = Step(f"{which} by {format_command(found)}", tool.do, expect=tool.expect)
            steps.append(run_once(target.registry, target.slug, which, step, stale=tool.stale))
        elif which == "migrate" and project.settings.migrate is None:
            target.narrator.say("no migration tool is detected or configured; WORKTREE_MIGRATE names a command")
    return steps


@dataclass(frozen=True)
class _RunTool:
    """Migrates or generates, as *which* says."""

    target: Target
    which: str
    every_time: bool

    def do(self) -> str | None:
        if self.which == "migrate":
            clear_ran(self.target.registry, self.target.slug, {"generate"})
            found = _compare_migrations(self.target)
            if found and found.drift.missing:
                self.target.narrator.say(
                    f"warning: {self.target.record.golden} has migrations that this branch lacks: "
                    f"{', '.join(found.drift.missing)}\n"
                    "  the branch's code does not know this schema; merge the branch that has these migrations"
                )
            if self._skippable and found and not found.reason:
                return found.summary
        return run_tool(self.target, self.which)

    def expect(self) -> str:
        if self.which == "generate" or not self._skippable:
            return ""
        record = self.target.find_record()
        if record is None or record.clone is None:
            return "skipped if the clone has every migration of the branch"
        found = _compare_migrations(self.target)
        return (found.reason or found.summary) if found else ""

    @property
    def _skippable(self) -> bool:
        settings = self.target.project.settings
        known = is_skippable(settings.migrate, settings.history)
        return known and not self.every_time and settings.migrate_always == "false"

    def stale(self) -> bool:
        """Whether it has to run again: always, or because the migration history lacks migrations of the branch."""
        if self.every_time or self.which == "generate":
            return self.every_time
        path, project = self.target.path, self.target.project
        if not path.exists():
            return True
        toolchain = find_history_toolchain(path, project.settings.migrate, project.settings.history)
        if toolchain is None:
            return False
        drift = _drift(project, self.target.record.identity.database, toolchain)
        return drift is None or bool(drift.pending)


@dataclass(frozen=True)
class _Comparison:
    """
    A branch's migrations, compared with the worktree's database.

    Attributes:
        reason: Why migrate has to run; empty if it provably would do nothing.
    """

    drift: Drift
    reason: str

    @property
    def summary(self) -> str:
        """Why migrate need not run."""
        count = len(self.drift.applied)
        return f"{count} of {count} applied: nothing to migrate"


def _compare_migrations(target: Target) -> _Comparison | None:
    """Compare the branch's migrations with the worktree's database; return None if either cannot be read."""
    project, settings = target.project, target.project.settings
    main = project.repository.main
    path = search_path(os.environ.get("PATH"), target.path, main, is_brought=_is_brought)
    with suppress(ToolchainError):  # the tool itself says more about files that it cannot read
        toolchain = find_history_toolchain(target.path, settings.migrate, settings.history)
        recorded = _read_recorded(project, target.record.identity.database, toolchain) if toolchain else None
        if toolchain and recorded is not None:
            return _Comparison(toolchain.drift(recorded), toolchain.find_reason_to_migrate(recorded, path))
    return None


def _read_recorded(project: Project, database: str, toolchain: Toolchain) -> dict[str, str | None] | None:
    """Return the recorded checksums of the migrations in *database*, by key; None if they cannot be read."""
    from tasks_lib.databases.compare import queries

    with suppress(DatabaseError):
        return queries.read_migrations(project.server, database, *toolchain.history)
    return None


def _drift(project: Project, database: str, toolchain: Toolchain) -> Drift | None:
    """Compare the migration history of *database* with the branch; return None if it cannot be read."""
    recorded = _read_recorded(project, database, toolchain)
    return None if recorded is None else toolchain.drift(recorded)


def find_command(project: Project, root: Path, which: str) -> Command | None:
    """
    Return the command that does *which*, `migrate` or `generate`, for the worktree at *root*; None if there is none.

    Raises:
        ToolchainError: If it uses several tools and no setting says which.
    """
    settings = project.settings
    if which == "migrate":
        return migrate_command(root, settings.migrate)
    return generate_command(root, settings.migrate, settings.generate, settings.generate_to)


def run_tool(target: Target, which: str, *, hint: str = "", url: DatabaseUrl | None = None) -> str | None:
    """
    Run the tool that does *which*, `migrate` or `generate`, in the worktree, on its own database.

    Args:
        hint: How to go on if it fails.
        url: The URL of that database, if the application's own settings say it (see `guard`).

    Returns:
        A remark if there was nothing to run.

    Raises:
        ToolchainError: If the command fails or cannot be found, or has left migrations pending.
        WrongDatabaseError: If it used a database that is not the worktree's.
    """
    project, record, path = target.project, target.record, target.path
    found = find_command(project, path, which)
    if found is None:
        return "nothing, because this branch does not use that tool"
    folder = str(found.cwd.relative_to(path))
    environment = worktree_environment(project, record, path, url=url, folder=folder)
    unchanged = run_fenced(target, found, env=environment, hint=hint)
    if which == "migrate":
        require_applied(project, record.identity.database, path, target.narrator, unchanged)
    return None


def require_applied(
    project: Project, database: str, path: Path, narrator: Narrator, unchanged: Sequence[str] = ()
) -> None:
    """
    Check that the migrations of the worktree at *path* are in *database*, after its tool exited with 0.

    For a command of the user's own, pending migrations may be intended, so they are only a warning.

    Args:
        unchanged: Other databases that the tool has not migrated either.

    Raises:
        ToolchainError: If the tool's migration history lacks one.
    """
    setting = project.settings.migrate
    toolchain = find_history_toolchain(path, setting, project.settings.history)
    drift = _drift(project, database, toolchain) if toolchain else None
    if toolchain is None or drift is None or not drift.pending:
        return
    pending = ", ".join(drift.pending)
    if setting is None or is_preset(setting):
        raise ToolchainError(
            f"{toolchain.name} exited with 0, but did not apply {pending}",
            why="\n".join([toolchain.unapplied, *(f"it did not migrate `{name}` either" for name in unchanged)]),
            hint="inv db.status  # what is applied, and what is pending",
        )
    narrator.say(f"warning: `{setting}` exited with 0, but these migrations are pending: {pending}")


def worktree_environment(
    project: Project, record: Record, path: Path, *, url: DatabaseUrl | None = None, folder: str = "."
) -> dict[str, str]:
    """Return the environment of commands that run in *folder* of the worktree at *path*, on its own database."""
    own = worktree_values(project, project.registry.require(record.slug))
    own |= replace_exported(known_databases(project, record, project.server.url), os.environ)
    return command_environment(project, url or own_database_url(project, record), path, own, folder)


def command_environment(
    project: Project, url: DatabaseUrl, path: Path, own: Mapping[str, str] | None = None, folder: str = "."
) -> dict[str, str]:
    """
    Return the environment of commands that run in *folder* of the worktree at *path*, on the database at *url*.

    Args:
        own: The values of the worktree's env file, which override exported variables.
    """
    from tasks_lib.databases.compare import queries
    from tasks_lib.databases.server.connection import Server

    clients = None
    # GIT_DIR and similar variables of a git hook that called us name another worktree. PG* variables complete the URL,
    # for us and for the tool, but a service names its own database. Only this program pulls.
    passed_on = git_environment().keys() - {"PGSERVICE", "PULL_DATABASE_URL"}
    inherited = {key: value for key, value in os.environ.items() if key in passed_on}
    others = [project.repository.main, *project.registry.paths().values()]
    if is_active_elsewhere(os.environ, path, others):
        # poetry, pdm, pipenv and `uv pip` would install the worktree's code into that environment.
        del inherited["VIRTUAL_ENV"]
    if project.settings.database_url is None:
        # The embedded server has no TLS, which Go's drivers require by default.
        inherited["PGSSLMODE"] = "disable"
    with suppress(ServerError):  # a command that needs no database runs without one
        clients = queries.find_client_directory(Server(url))
    return child_environment(
        {**inherited, **CALLER, **(own or {})},
        url=url.text,
        libpq=url.environment(),
        clients=clients,
        worktree=path,
        main=project.repository.main,
        folder=folder,
        is_brought=_is_brought,
    )


def _is_brought(folder: Path) -> bool:
    """Whether git tracks files in *folder*, whose programs then come from a branch; also if that is unknown."""
    found = run_git("ls-files", "-z", "--", ".", cwd=folder, check=False)
    return bool(found.stdout) if found.returncode == 0 else "not a git repository" not in found.stderr


def format_command(command: Command) -> str:
    """Return *command* as a user would type it."""
    return command.argv[2] if command.argv[:2] == ("sh", "-c") else " ".join(command.argv)
