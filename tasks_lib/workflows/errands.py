"""
Start, merge and abandon errands: the row in the ledger together with the worktree of its branch.

Crash safety: the row is created first and updated last, so it always describes an interrupted run. Loads SQLAlchemy.
"""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError, ConflictError, LedgerError
from tasks_lib.git.diff import diff_since
from tasks_lib.ledger.agents.registration import stop
from tasks_lib.ledger.schema.agents import GONE
from tasks_lib.ledger.schema.base import new_id
from tasks_lib.ledger.schema.errands import ErrandStatus
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.ledger.work import errands
from tasks_lib.plan import Plan, Step
from tasks_lib.workflows.errand_status import worktrees_by_branch
from tasks_lib.workflows.ledger_access import ledger_of, stop_orphaned_agents, worktree_id_of
from tasks_lib.worktrees.plans import merge
from tasks_lib.worktrees.plans.create import plan_create
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.plans.remove import plan_remove
from tasks_lib.worktrees.removal.checks import require_nothing_lost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.git.diff import Diff
    from tasks_lib.ledger.schema.errands import Errand
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.removal.steps import Removal


@dataclass(frozen=True)
class ErrandStart:
    """A new errand: its id, and the record of its worktree."""

    id: str
    record: Record


@contextmanager
def plan_start(
    project: Project, description: str, narrator: Narrator, *, base: str, agent: str, options: CloneOptions | None
) -> Iterator[Planned[ErrandStart]]:
    """
    Plan an errand: its row, then a worktree as `plan_create` plans it. The `with` body runs under the worktree's lock.

    Args:
        description: As `errands.require_description` returns it.
        base: A branch; the default branch if it is empty.
        agent: The name of the agent that runs the errand; may be empty.

    Raises:
        BranchError: If the base branch does not exist.
        GoldentreeError: As `plan_create`.
    """
    base, id = base or project.base_branch, new_id()  # noqa: A001 - what it is
    if not project.repository.has_branch(base):
        raise BranchError(
            f"branch `{base}` does not exist",
            why="an errand starts from a local branch and is merged into it",
            hint=f"create it, or pass --base BRANCH\ngit branch {base} origin/{base}",
        )
    branch = errands.branch_name(description, id)

    def add() -> None:
        with ledger_of(project).write() as tx:
            agent_id = tx.agents.named(agent).id if agent else None
            tx.errands.create(id=id, description=description, branch=branch, base_branch=base, agent_id=agent_id)

    def delete() -> None:
        with ledger_of(project).write() as tx:
            if tx.errands.find_by_id(id):
                tx.errands.delete(id)

    command = f"errand.start {shlex.quote(description)} --base {base}" + (f" --as {agent}" if agent else "")
    with plan_create(project, branch, narrator, base=f"refs/heads/{base}", options=options, command=command) as planned:
        row = Step(f"add errand {short_id(id)} to the ledger", add, delete, anchor=True)
        (create,) = planned.plans
        yield Planned(ErrandStart(id, planned.subject), (Plan([row, *create.stages]),))


def find_errand(project: Project, name: str) -> Errand:
    """
    Return the errand *name*: a branch, an id or its beginning; by default the errand of the current worktree.

    Raises:
        NotFoundError, ConflictError: If no errand, or several, match *name*.
        LedgerError: If the current worktree does not belong to an errand.
    """
    record = None if name else project.record_at(project.repository.current)
    with ledger_of(project).read() as tx:
        found = tx.errands.find_all(branch=record.identity.branch if record else name)
        if not found and not name:
            raise LedgerError("this worktree does not belong to an errand", hint="name an errand\ninv errand.list")
        return found[0] if found else tx.errands.named(name)


@contextmanager
def diff(project: Project, errand: Errand) -> Iterator[Diff]:
    """
    Give an errand's changes since it branched from its base branch, including uncommitted work.

    Raises:
        BranchError: If its branch or base branch does not exist.
    """
    listed = worktrees_by_branch(project).get(errand.branch)
    at = listed.path if listed and listed.branch == errand.branch and listed.path.exists() else None
    with diff_since(project.repository, f"refs/heads/{errand.base_branch}", errand.branch, at) as changes:
        yield changes


def require_completable(project: Project, errand: Errand, *, force: bool) -> None:
    """
    Refuse to submit an errand that is not active or, without *force*, whose worktree has uncommitted work.

    Raises:
        ConflictError: If it is not active.
        WorktreeError: If its worktree has uncommitted work.
    """
    errands.require(errand, ErrandStatus.ACTIVE, to="be completed")
    if not force:
        _require_committed(project, errand)


def complete(project: Project, errand: Errand) -> Errand:
    """Submit an errand for review, mark the agents in its worktree as stopped, and return it."""
    with ledger_of(project).write() as tx:
        for record in project.registry.records():
            if record.identity.branch == errand.branch:
                for agent in tx.agents.find_all(worktree_id=worktree_id_of(project, record.slug)):
                    if agent.status not in GONE:
                        stop(tx, agent.id)
        return tx.errands.update(errand.id, status=ErrandStatus.PENDING_REVIEW)


@dataclass
class ErrandMerge:
    """
    The merge of an errand into its base branch.

    Attributes:
        errand: Once it has run, with status `merged` or `conflict`.
        conflicts: The files in conflict, once it has run.
    """

    project: Project
    errand: Errand
    conflicts: list[str] = field(default_factory=list)

    def step(self) -> Step:
        """Return the step that merges it."""
        return Step(f"merge {self.errand.branch} into {self.errand.base_branch}", self.do)

    def do(self) -> str | None:
        """Merge it, and write the result into the ledger."""
        errand = self.errand
        message = f"Merge branch '{errand.branch}'\n\n{errand.description}"
        self.conflicts = merge.merge_branch(self.project, errand.branch, errand.base_branch, message=message)
        status = ErrandStatus.CONFLICT if self.conflicts else ErrandStatus.MERGED
        with ledger_of(self.project).write() as tx:
            self.errand = tx.errands.update(errand.id, status=status)
        return f"{len(self.conflicts)} in conflict; nothing was changed" if self.conflicts else None


def plan_merge(project: Project, errand: Errand, *, force: bool, remove: bool) -> Planned[ErrandMerge]:
    """
    Plan the merge of an errand. The plan is empty for an errand that was merged already.

    Args:
        force: Merge although the worktree has uncommitted work, which stays there.
        remove: The worktree is removed afterwards; then the errand may be merged already.

    Raises:
        ConflictError: If it is not pending review.
        WorktreeError: If its worktree has uncommitted work that would not be merged, or would be removed.
    """
    merged = [ErrandStatus.MERGED] if remove else []
    errands.require(errand, ErrandStatus.PENDING_REVIEW, *merged, to="be merged")
    if remove or not force:
        _require_committed(project, errand)
    merging = ErrandMerge(project, errand)
    return Planned(merging, (Plan([] if errand.status is ErrandStatus.MERGED else [merging.step()]),))


def require_resolved(project: Project, errand: Errand) -> None:
    """
    Refuse unless an errand in conflict now merges cleanly. Tries the merge and discards it.

    Raises:
        ConflictError: If its status is not `conflict`, or it still conflicts.
    """
    errands.require(errand, ErrandStatus.CONFLICT, to="be resolved")
    if conflicts := merge.find_conflicts(project, errand.branch, errand.base_branch):
        raise ConflictError(
            f"`{errand.branch}` still conflicts with `{errand.base_branch}`",
            why="\n".join(conflicts),
            hint=f"in its worktree, resolve the conflicts and commit\ngit merge {errand.base_branch}",
        )


def resolve(project: Project, errand: Errand) -> Errand:
    """Submit an errand for review again, and return it."""
    with ledger_of(project).write() as tx:
        return tx.errands.update(errand.id, status=ErrandStatus.PENDING_REVIEW)


def require_open(errand: Errand) -> None:
    """
    Refuse to abandon an errand that is finished.

    Raises:
        ConflictError: If it is.
    """
    errands.require(errand, *errands.OPEN, to="be abandoned")


def abandon(project: Project, errand: Errand) -> Errand:
    """Mark an errand as abandoned, and return it."""
    with ledger_of(project).write() as tx:
        return tx.errands.update(errand.id, status=ErrandStatus.ABANDONED)


def has_worktree(project: Project, errand: Errand) -> bool:
    """Whether an errand has a worktree, or a record of one, to remove."""
    return errand.branch in worktrees_by_branch(project) or any(
        record.identity.branch == errand.branch for record in project.registry.records()
    )


def remove(project: Project, narrator: Narrator, errand: Errand, *, force: bool = False) -> Removal | None:
    """
    Remove an errand's worktree, if it has one, as `inv worktree.remove` does.

    Raises:
        WorktreeError: If work would be lost.
    """
    if not has_worktree(project, errand):
        return None
    # `plan_remove` looks for merged work in the default branch only.
    keep = errand.status is ErrandStatus.MERGED and errand.base_branch != project.base_branch
    with plan_remove(project, errand.branch, narrator, force=force, keep_branch=keep) as planned:
        planned.run(narrator)
    stop_orphaned_agents(project, narrator)
    return planned.subject


def _require_committed(project: Project, errand: Errand) -> None:
    if listed := worktrees_by_branch(project).get(errand.branch):
        require_nothing_lost(project, listed)
