"""
Setting up: everything but `git worktree add`, inside a worktree that is there, whoever made it.

A second call does what is missing, and no more.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError, WorktreeError
from tasks_lib.git.cli import read_git
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.env import guard
from tasks_lib.worktrees.plans.create import Creation
from tasks_lib.worktrees.steps import databases, env_file, files, hooks, portless, toolchain, worktree_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@contextmanager
def plan_setup(
    project: Project, narrator: Narrator, wish: CloneOptions, *, clone_only: bool = False, database_only: bool = False
) -> Iterator[Creation]:
    """
    Plan what the worktree that we stand in lacks; hold the worktree's lock meanwhile.

    Args:
        wish: How its databases are cloned.
        clone_only: Nothing but its own database.
        database_only: Its databases, and the env file that names them; migrate and generate, although they have run.

    Raises:
        GoldentreeError: If anything stands in the way; nothing was changed then.
    """
    here = project.require_linked()
    known = project.record_at(here)
    slug = known.slug if known else worktree_record.new_slug(project, _branch(here))
    with project.registry.working_on(slug):
        # Looked up again: whoever held the lock until now may have changed it.
        record = project.record_at(here) or _adopted(project, here, slug)
        guard.refuse_exported(record, os.environ)
        first, adoption = worktree_record.record_step(project, record), _adoption(project, record, here)
        cloned = databases.own_step(project, record, narrator, wish)
        if clone_only:
            databases.own(project, record).examine()
            yield Creation(record, Plan([first, adoption, cloned]))
            return
        databases.examine(project, record)
        env_file.require_editable(project, record, here)
        env_file.warn(project, record, here, narrator)
        hint = f"mend it, then: inv worktree.{'db' if database_only else 'setup'}"
        given = [] if database_only else files.steps(project, record, here, narrator)
        installed = [] if database_only else hooks.after_setup(project, record, here, narrator, hint=hint)
        stages: list[Step | tuple[Step, ...]] = [
            first,
            adoption,
            (cloned, *databases.companion_steps(project, record, narrator, wish)),
            *given,
            env_file.step(project, record, here),
            *installed,
            *hooks.companion_setup(project, record, here, narrator, hint=hint),
            *toolchain.steps(project, record, here, narrator, hint=hint, every_time=database_only),
            worktree_record.ready_step(project, record),
            *([] if database_only else portless.steps(project, record, narrator)),
        ]
        yield Creation(record, Plan(stages))


def _branch(here: Path) -> str:
    listed = next((row for row in list_worktrees(here) if row.path == here), None)
    if listed is None:
        raise WorktreeError(
            f"git knows no worktree at {here}",
            why="it was moved by other means than `git worktree move`",
            hint="git worktree repair",
        )
    if listed.branch is None:
        raise BranchError(
            f"no branch is checked out at {here}",
            why="the worktree's database is named after its branch",
            hint="git switch --create BRANCH",
        )
    return listed.branch


def _adopted(project: Project, here: Path, slug: str) -> Record:
    """Return the record for a worktree that this tool did not make."""
    record = project.registry.find(slug)
    if record is None:
        return worktree_record.new_record(project, _branch(here), here, base=None, made_worktree=False)
    elsewhere = project.registry.paths().get(slug)
    if elsewhere is not None or (record.path != str(here) and Path(record.path).exists()):
        raise WorktreeError(
            f"the names of branch `{record.identity.branch}` belong to the worktree at {elsewhere or record.path}",
            why="a worktree keeps the names of the branch that it was made for",
            hint="git switch --create ANOTHER-BRANCH",
        )
    return record


def _adoption(project: Project, record: Record, here: Path) -> Step:
    """Return the step that makes record and worktree name each other."""
    git_directory = Path(read_git("rev-parse", "--absolute-git-dir", cwd=here))
    registry = project.registry

    def do() -> None:
        hooks.forget(project, record.slug)
        registry.mark(git_directory, record.slug)

    return Step(
        f"adopt {here}",
        do,
        undo=lambda: registry.unmark(git_directory),
        done=lambda: registry.paths().get(record.slug) == here,
    )
