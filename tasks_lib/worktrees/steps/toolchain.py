"""
The project's own tools, run on a worktree's own database: migrate and generate.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tasks_lib.errors import DatabaseError, ServerError, ToolchainError
from tasks_lib.git.cli import CALLER, git_environment
from tasks_lib.plan import Step
from tasks_lib.toolchains.catalog import PRESETS
from tasks_lib.toolchains.choose import generate_command, ledger_toolchain, migrate_command
from tasks_lib.toolchains.environment import child_environment
from tasks_lib.toolchains.run import run
from tasks_lib.worktrees.steps.databases import own_database_url
from tasks_lib.worktrees.steps.env_file import worktree_values
from tasks_lib.worktrees.steps.run_once import clear_ran, run_once

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.toolchains.base import Command, Drift, Toolchain
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


def toolchain_steps(
    project: Project, record: Record, path: Path, narrator: Narrator, *, hint: str, every_time: bool = False
) -> list[Step]:
    """
    Return the steps that migrate and generate in the worktree at *path*.

    Which tool does so is decided by the main worktree's files, so that a branch cannot bring commands of its own.

    Args:
        hint: How to go on when one of them fails and everything is undone.
        every_time: Run them although they have run on this database, and no migration is known to be pending.

    Raises:
        ToolchainError: If the main worktree shows several migration tools and no setting says which.
    """
    main, registry = project.repository.main, project.registry
    steps = []
    for which in ("migrate", "generate"):
        if found := find_command(project, main, which):

            def do(which: str = which) -> str | None:
                if which == "migrate":
                    clear_ran(registry, record.slug, {"generate"})
                    _warn(project, record, path, narrator)
                return run_tool(project, record, path, which, narrator, hint=hint)

            step = Step(f"{which} by {format_command(found)}", do)
            stale = partial(_must_run, project, record, path, which, every_time=every_time)
            steps.append(run_once(registry, record.slug, which, step, stale=stale))
        elif which == "migrate" and project.settings.migrate is None:
            narrator.say("no migration tool is detected or configured; WORKTREE_MIGRATE names a command")
    return steps


def _must_run(project: Project, record: Record, path: Path, which: str, *, every_time: bool) -> bool:
    """Whether *which* has to run again: always, or as the tool's ledger lacks migrations of the branch."""
    if every_time or which == "generate":
        return every_time
    if not path.exists():
        return True
    toolchain = ledger_toolchain(path, project.settings.migrate)
    if toolchain is None:
        return False
    drift = _drift(project, record.identity.database, toolchain)
    return drift is None or bool(drift.pending)


def _warn(project: Project, record: Record, path: Path, narrator: Narrator) -> None:
    """Say which migrations golden had that the branch lacks: not every tool stops at them."""
    drift = None
    with suppress(ToolchainError):  # the tool itself says more of files that it cannot make sense of
        if toolchain := ledger_toolchain(path, project.settings.migrate):
            drift = _drift(project, record.identity.database, toolchain)
    if drift and drift.missing:
        narrator.say(
            f"warning: {record.golden} has migrations that this branch lacks: {', '.join(drift.missing)}\n"
            "  the branch's code meets a schema that it does not know; merge the branch that they come from"
        )


def _drift(project: Project, database: str, toolchain: Toolchain) -> Drift | None:
    """Return how *database* stands to the branch, None where that cannot be told."""
    from tasks_lib.databases.compare import queries

    ledger = toolchain.ledger
    with suppress(DatabaseError):
        return toolchain.drift(queries.read_migration_keys(project.server, database, ledger.table, ledger.query))
    return None


def find_command(project: Project, root: Path, which: str) -> Command | None:
    """
    Return the command that does *which*, `migrate` or `generate`, for the worktree at *root*; None for nothing.

    Raises:
        ToolchainError: If several tools are there and no setting says which.
    """
    settings = project.settings
    if which == "migrate":
        return migrate_command(root, settings.migrate)
    return generate_command(root, settings.migrate, settings.generate, settings.generate_to)


def run_tool(
    project: Project,
    record: Record,
    path: Path,
    which: str,
    narrator: Narrator,
    *,
    hint: str,
    url: DatabaseUrl | None = None,
) -> str | None:
    """
    Run what does *which*, `migrate` or `generate`, in the worktree at *path*, on its own database.

    Args:
        url: What the application's own settings say of that database, where the guard has found it out.

    Returns a remark where there was nothing to run.

    Raises:
        ToolchainError: If the command fails or cannot be found, or has not applied what it should.
    """
    found = find_command(project, path, which)
    if found is None:
        return "nothing, as this branch has no such tool"
    environ = worktree_environment(project, record, path, url=url)
    run(found, env=environ, on_line=narrator.relay, hint=hint)
    if which == "migrate":
        require_applied(project, record.identity.database, path, narrator)
    return None


def require_applied(project: Project, database: str, path: Path, narrator: Narrator) -> None:
    """
    Make sure that the migrations of the worktree at *path* are in *database*, now that its tool has ended well.

    What a command of the user's own leaves out may be left out on purpose: that is only said.

    Raises:
        ToolchainError: If the tool's ledger lacks one.
    """
    setting = project.settings.migrate
    toolchain = ledger_toolchain(path, setting)
    drift = _drift(project, database, toolchain) if toolchain else None
    if toolchain is None or drift is None or not drift.pending:
        return
    pending = ", ".join(drift.pending)
    if setting is None or setting in PRESETS:
        raise ToolchainError(
            f"{toolchain.name} ended well, and yet has not applied {pending}",
            why=toolchain.unapplied,
            hint="inv db.status  # what is applied, and what is pending",
        )
    narrator.say(f"warning: `{setting}` ended well, and yet these migrations are pending: {pending}")


def worktree_environment(
    project: Project, record: Record, path: Path, *, url: DatabaseUrl | None = None
) -> dict[str, str]:
    """Return the environment of commands that run in the worktree at *path*, on its own database."""
    own = worktree_values(project, project.registry.require(record.slug))
    return command_environment(project, url or own_database_url(project, record), path, own)


def command_environment(
    project: Project, url: DatabaseUrl, path: Path, own: Mapping[str, str] | None = None
) -> dict[str, str]:
    """
    Return the environment of commands that run in the worktree at *path*, on the database at *url*.

    Args:
        own: What the worktree's env file says; it wins over what is exported here.
    """
    from tasks_lib.databases.compare import queries
    from tasks_lib.databases.server.connection import Server

    clients = None
    # Of a git hook that called us, GIT_DIR and its like name another worktree. PG* variables fill in what the URL
    # leaves out, for us and for the tool; a service would name its own database. Nobody but us pulls.
    passed_on = git_environment().keys() - {"PGSERVICE", "PULL_DATABASE_URL"}
    inherited = {key: value for key, value in os.environ.items() if key in passed_on}
    if project.settings.database_url is None:
        # The embedded server speaks no TLS, and Go's drivers insist on it unless told.
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
    )


def format_command(command: Command) -> str:
    """Return *command* for people."""
    return command.argv[2] if command.argv[:2] == ("sh", "-c") else " ".join(command.argv)
