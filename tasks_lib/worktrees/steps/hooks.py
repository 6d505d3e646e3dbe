"""
The commands of a team: after a worktree is set up, and before it is removed.

They come from the main worktree's `invoke.yaml` alone, so that a branch that is checked out cannot bring its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.plan import Step
from tasks_lib.toolchains.base import Command
from tasks_lib.toolchains.run import run
from tasks_lib.worktrees.steps.databases import companion_databases, one_off_name
from tasks_lib.worktrees.steps.run_once import clear_ran, run_once
from tasks_lib.worktrees.steps.toolchain import worktree_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


def command_step(
    project: Project,
    record: Record,
    path: Path,
    command: str,
    narrator: Narrator,
    *,
    hint: str,
    url: DatabaseUrl | None = None,
) -> Step:
    """
    Return the step that runs *command* by `sh -c` in the worktree at *path*.

    Args:
        hint: What to do when it fails.
        url: The database that it works on; the worktree's own when not given.
    """

    def do() -> None:
        environment = worktree_environment(project, record, path, url=url)
        run(Command(("sh", "-c", command), path), env=environment, on_line=narrator.relay, hint=hint)

    return Step(f"run {command}", do)


def after_setup_steps(project: Project, record: Record, path: Path, narrator: Narrator, *, hint: str) -> list[Step]:
    """Return the steps that run what `worktree.after_setup` lists, each once in a worktree's life."""
    return [
        run_once(
            project.registry,
            record.slug,
            f"run {command}",
            command_step(project, record, path, command, narrator, hint=hint),
        )
        for command in project.settings.after_setup
    ]


def clear_ran_hooks(project: Project, slug: str) -> None:
    """Let what ran in a worktree that is gone count as never run in the one that takes its place."""
    ran = {f"run {command}" for command in project.settings.after_setup}
    clear_ran(project.registry, slug, ran | {"migrate", "generate", "portless"})


def companion_setup_steps(project: Project, record: Record, path: Path, narrator: Narrator, *, hint: str) -> list[Step]:
    """Return the steps that run the setup commands of the companion databases, each once in its database's life."""
    return [
        run_once(
            project.registry,
            record.slug,
            one_off_name(database.companion),
            command_step(project, record, path, database.companion.setup, narrator, hint=hint, url=database.url),
        )
        for database in companion_databases(project, record)
        if database.companion.setup
    ]
