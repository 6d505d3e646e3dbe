"""
Match the errands of the ledger with the worktrees of the repository, by branch. Loads SQLAlchemy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.git.cli import read_git
from tasks_lib.git.repository import list_worktrees
from tasks_lib.git.status import read_states
from tasks_lib.ledger.work.errands import OPEN
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.reports.incomplete import Problem, diagnose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.git.repository import WorktreeEntry
    from tasks_lib.ledger.schema.errands import Errand
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class ErrandState:
    """
    An errand with the state of its worktree.

    Attributes:
        listed: The worktree, None if it does not exist.
        dirty: The number of paths with uncommitted changes there, None if unknown.
        ahead: The number of commits that the base branch lacks, None if one of the two branches does not exist.
        problem: What is wrong with the worktree of an unfinished errand, if anything.
    """

    errand: Errand
    listed: WorktreeEntry | None
    dirty: int | None
    ahead: int | None
    problem: Problem | None


def worktrees_by_branch(project: Project) -> dict[str, WorktreeEntry]:
    """Return the worktrees by branch: the one each was created for, or with precedence the one it has checked out."""
    rows = list_worktrees(project.repository.main)
    branches = {record.slug: record.identity.branch for record in project.registry.records()}
    made = {path: branches[slug] for slug, path in project.registry.paths().items() if slug in branches}
    return {made[row.path]: row for row in rows if row.path in made} | {row.branch: row for row in rows if row.branch}


def list_errand_states(project: Project, errands: Sequence[Errand]) -> list[ErrandState]:
    """Return the state of each errand in the repository."""
    worktrees = worktrees_by_branch(project)
    rows = [worktrees[errand.branch] for errand in errands if errand.branch in worktrees]
    states = dict(
        zip((row.path for row in rows), read_states(project.repository, rows, project.settings.base), strict=True)
    )
    records = {record.identity.branch: record for record in reversed(project.registry.records())}
    removals = removal_record.list_removals(project)
    removed = {removal.worktree.identity.branch for removal in removals if removal.worktree}
    found = []
    for errand in errands:
        listed = worktrees.get(errand.branch)
        dirty = states[listed.path].dirty if listed else None
        problem = _problem(project, errand, listed, records.get(errand.branch), removed)
        found.append(ErrandState(errand, listed, dirty, _ahead(project, errand), problem))
    return found


def list_orphan_branches(project: Project, errands: Sequence[Errand]) -> list[str]:
    """Return the branches of errand worktrees that have no row in the ledger."""
    known = {errand.branch for errand in errands}
    branches = (record.identity.branch for record in project.registry.records())
    return [branch for branch in branches if branch.startswith("errand/") and branch not in known]


def _ahead(project: Project, errand: Errand) -> int | None:
    base, branch = (f"refs/heads/{name}" for name in (errand.base_branch, errand.branch))
    if not (project.repository.has_branch(errand.base_branch) and project.repository.has_branch(errand.branch)):
        return None
    return int(read_git("rev-list", "--count", f"{base}..{branch}", cwd=project.repository.main))


def _problem(
    project: Project, errand: Errand, listed: WorktreeEntry | None, record: Record | None, removed: set[str]
) -> Problem | None:
    """
    Return what is wrong with the worktree of an errand that is not finished.

    Args:
        removed: The branches of worktrees whose removal can be undone.
    """
    there = listed is not None and listed.path.exists()
    if errand.status not in OPEN or (there and (record is None or record.state == "ready")):
        return None
    if record is not None:
        return diagnose(project, record, listed.path if listed else None)
    create = f"inv worktree.create {errand.branch}"
    if errand.branch in removed:
        return Problem("its worktree was removed", f"inv worktree.undo {errand.branch}")
    if project.repository.has_branch(errand.branch):
        return Problem("it has no worktree", create)
    return Problem("neither its branch nor its worktree is here", f"{create} --base {errand.base_branch}")
