"""
Setting up: the database part, inside a worktree that is there, whoever made it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError, WorktreeError
from tasks_lib.steps import Plan, Step
from tasks_lib.worktrees import git, guard, provision, tools
from tasks_lib.worktrees.create import Creation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.ladder import Wish
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@contextmanager
def setup(project: Project, narrator: Narrator, wish: Wish, *, clone_only: bool = False) -> Iterator[Creation]:
    """
    Plan the database of the worktree that we stand in; hold the worktree's lock meanwhile.

    Args:
        wish: How the database is cloned.
        clone_only: Leave out the env file, the migrations and the generated code.

    Raises:
        GoldentreeError: If anything stands in the way; nothing was changed then.
    """
    here = project.require_linked()
    known = project.record_at(here)
    slug = known.slug if known else provision.new_slug(project, _branch(here))
    with project.registry.working_on(slug):
        # Looked up again: whoever held the lock until now may have changed it.
        record = project.record_at(here) or _adopted(project, here, slug)
        guard.refuse_exported(record, os.environ)
        provision.examine(project, record)
        adoption, clone = _adoption(project, record, here), provision.clone_step(project, record, narrator, wish)
        first, last = provision.record_step(project, record), provision.ready_step(project, record)
        if clone_only:
            yield Creation(record, Plan([first, adoption, clone, last]))
            return
        provision.require_editable(project, record, here)
        point = provision.point_step(project, record, here)
        toolchain = tools.steps(project, record, here, narrator, hint="mend it, then: inv worktree.db")
        yield Creation(record, Plan([first, adoption, clone, point, *toolchain, last]))


def _branch(here: Path) -> str:
    listed = next((row for row in git.worktrees(here) if row.path == here), None)
    if listed is None or listed.branch is None:
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
        return provision.new_record(project, _branch(here), here, base=None, made_worktree=False)
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
    git_directory = Path(git.output("rev-parse", "--absolute-git-dir", cwd=here))
    registry = project.registry
    return Step(
        f"adopt {here}",
        lambda: registry.mark(git_directory, record.slug),
        undo=lambda: registry.unmark(git_directory),
        done=lambda: registry.paths().get(record.slug) == here,
    )
