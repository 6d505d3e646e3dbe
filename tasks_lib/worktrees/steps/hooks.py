"""
The team's own commands: after a worktree is set up, and before it is removed.

They are read from the main worktree's `invoke.yaml` only, so that a branch cannot bring its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.plan import Step
from tasks_lib.toolchains.base import Command
from tasks_lib.worktrees.env.fenced import run_fenced
from tasks_lib.worktrees.steps.databases import companion_databases, one_off_name
from tasks_lib.worktrees.steps.run_once import clear_ran, run_once
from tasks_lib.worktrees.steps.toolchain import worktree_environment

if TYPE_CHECKING:
    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.target import Target


@dataclass(frozen=True)
class RunCommand:
    """
    Runs a command by `sh -c` in the worktree.

    Attributes:
        url: The database that it works on, by default the worktree's own.
    """

    target: Target
    command: str
    url: DatabaseUrl | None = None

    def step(self) -> Step:
        """Return the step that does it."""
        return Step(f"run {self.command}", self.do)

    def do(self) -> None:
        """Run it; its output is printed line by line."""
        target = self.target
        environment = worktree_environment(target.project, target.record, target.path, url=self.url)
        run_fenced(target, Command(("sh", "-c", self.command), target.path), env=environment)


def after_setup_steps(target: Target) -> list[Step]:
    """Return the steps that run the commands of `worktree.after_setup`, each once per worktree."""
    return [
        run_once(target.registry, target.slug, f"run {command}", RunCommand(target, command).step())
        for command in target.project.settings.after_setup
    ]


def clear_ran_hooks(project: Project, slug: str) -> None:
    """Let every step that ran in a worktree that no longer exists run again in the one that replaces it."""
    ran = {f"run {command}" for command in project.settings.after_setup}
    clear_ran(project.registry, slug, ran | {"migrate", "generate", "portless"})


def companion_setup_steps(target: Target) -> list[Step]:
    """Return the steps that run the setup commands of the companion databases, each once per database."""
    return [
        run_once(
            target.registry,
            target.slug,
            one_off_name(database.companion),
            RunCommand(target, database.companion.setup, database.url).step(),
        )
        for database in companion_databases(target.project, target.record)
        if database.companion.setup
    ]
