"""
The errands of the ledger beside the worktrees of the repository: they meet by their branches. Loads SQLAlchemy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.git.cli import read_git
from tasks_lib.git.repository import list_worktrees
from tasks_lib.git.status import read_states
from tasks_lib.ledger.schema import document as document_of
from tasks_lib.ledger.store.names import short_id
from tasks_lib.ledger.work.errands import OPEN
from tasks_lib.output import table
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.reports.incomplete import Problem, diagnose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.git.repository import WorktreeEntry
    from tasks_lib.ledger.schema.review import Errand
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Standing:
    """
    An errand beside its worktree.

    Attributes:
        listed: Its worktree, None where there is none.
        dirty: How many paths have uncommitted changes there; None where that cannot be told.
        ahead: How many commits its branch has that its base branch lacks; None where one of them is not here.
    """

    errand: Errand
    listed: WorktreeEntry | None
    dirty: int | None
    ahead: int | None
    problem: Problem | None


def worktrees_by_branch(project: Project) -> dict[str, WorktreeEntry]:
    """Return the worktrees by the branch that each was made for and, which counts more, the one that it is on."""
    rows = list_worktrees(project.repository.main)
    branches = {record.slug: record.identity.branch for record in project.registry.records()}
    made = {path: branches[slug] for slug, path in project.registry.paths().items() if slug in branches}
    return {made[row.path]: row for row in rows if row.path in made} | {row.branch: row for row in rows if row.branch}


def standings(project: Project, errands: Sequence[Errand]) -> list[Standing]:
    """Return how each of *errands* stands in the repository."""
    worktrees = worktrees_by_branch(project)
    rows = [worktrees[one.branch] for one in errands if one.branch in worktrees]
    states = dict(zip((row.path for row in rows), read_states(project.repository, rows), strict=True))
    records = {record.identity.branch: record for record in reversed(project.registry.records())}
    removed = {note.record.identity.branch for note in removal_record.list_removals(project) if note.record}
    found = []
    for one in errands:
        listed = worktrees.get(one.branch)
        dirty = states[listed.path].dirty if listed else None
        problem = _problem(project, one, listed, records.get(one.branch), removed)
        found.append(Standing(one, listed, dirty, _ahead(project, one), problem))
    return found


def orphans(project: Project, errands: Sequence[Errand]) -> list[str]:
    """Return the branches of worktrees that were made for errands which the ledger does not know."""
    known = {one.branch for one in errands}
    branches = (record.identity.branch for record in project.registry.records())
    return [branch for branch in branches if branch.startswith("errand/") and branch not in known]


def document(standing: Standing) -> dict[str, Any]:
    """Return *standing* for programs: the errand with `path`, `dirty`, `ahead` and `problem`, null for none."""
    problem = standing.problem
    return document_of(standing.errand) | {
        "path": standing.listed and standing.listed.path,
        "dirty": standing.dirty,
        "ahead": standing.ahead,
        "problem": problem and {"message": problem.what, "hint": problem.cure},
    }


def told(standings: Sequence[Standing]) -> str:
    """Return *standings* for people."""
    cells = [
        (
            short_id(one.errand.id),
            one.errand.status,
            one.errand.agent_alias or "-",
            _changes(one),
            one.errand.branch,
            one.errand.description,
        )
        for one in standings
    ]
    headings = ("ID", "STATUS", "AGENT", "WORKTREE", "BRANCH", "DESCRIPTION")
    return table(headings, cells, spare=("BRANCH", "AGENT")) if cells else "no errands"


def _changes(standing: Standing) -> str:
    if standing.listed is None or not standing.listed.path.exists():
        return "gone"
    dirty = "?" if standing.dirty is None else "dirty" if standing.dirty else "clean"
    return ", ".join([dirty, *([f"ahead {standing.ahead}"] if standing.ahead else [])])


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
