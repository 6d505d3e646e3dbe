"""
The project's own tools, run on a worktree's own database: migrate and generate.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from tasks_lib.steps import Step
from tasks_lib.toolchains.choose import generate_command, migrate_command
from tasks_lib.toolchains.environment import child_environment
from tasks_lib.toolchains.run import run
from tasks_lib.worktrees.provision import own_url

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.databases.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.toolchains.base import Command
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


def steps(project: Project, record: Record, path: Path, narrator: Narrator, *, hint: str) -> list[Step]:
    """
    Return the steps that migrate and generate in the worktree at *path*.

    Which tool does so is decided by the main worktree's files, so that a branch cannot bring commands of its own.

    Args:
        hint: How to go on when one of them fails and everything is undone.

    Raises:
        ToolchainError: If the main worktree shows several migration tools and no setting says which.
    """
    main = project.repository.main
    steps = []
    for which in ("migrate", "generate"):
        if found := command(project, main, which):
            run_it = partial(run_tool, project, own_url(project, record), path, which, narrator, hint=hint)
            steps.append(Step(f"{which} by {shown(found)}", run_it))
        elif which == "migrate":
            narrator.say("no migration tool is detected or configured; WORKTREE_MIGRATE names a command")
    return steps


def command(project: Project, root: Path, which: str) -> Command | None:
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
    project: Project, url: DatabaseUrl, path: Path, which: str, narrator: Narrator, *, hint: str
) -> str | None:
    """
    Run what does *which*, `migrate` or `generate`, in the worktree at *path*, on its own database at *url*.

    Returns a remark where there was nothing to run.

    Raises:
        ToolchainError: If the command fails or cannot be found.
    """
    from tasks_lib.databases import inspect  # noqa: PLC0415 - loads psycopg
    from tasks_lib.databases.server import Server  # noqa: PLC0415 - same

    found = command(project, path, which)
    if found is None:
        return "nothing, as this branch has no such tool"
    # PG* variables fill in what the URL leaves out, for us and for the tool; a service would name its own database.
    inherited = {key: value for key, value in os.environ.items() if key != "PGSERVICE"}
    if project.settings.database_url is None:
        # The embedded server speaks no TLS, and Go's drivers insist on it unless told.
        inherited["PGSSLMODE"] = "disable"
    environment = child_environment(
        inherited,
        url=url.text,
        libpq=url.environment(),
        clients=inspect.clients(Server(url)),
        worktree=path,
        main=project.repository.main,
    )
    run(found, env=environment, on_line=narrator.relay, hint=hint)
    return None


def shown(command: Command) -> str:
    """Return *command* for people."""
    return command.argv[2] if command.argv[:2] == ("sh", "-c") else " ".join(command.argv)
