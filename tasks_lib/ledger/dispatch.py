"""
The work queue: what is ready, who claims it, and what becomes of it.

The table is the queue. A claim is one UPDATE that names the first ready task and finds it still pending;
who comes second gets the next one. Planning categories are never dispatched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from tasks_lib.errors import ConflictError
from tasks_lib.ledger.liveness import is_lost
from tasks_lib.ledger.schema.agents import GONE, HOLDING, Agent, AgentStatus
from tasks_lib.ledger.schema.work import (
    PLANNING,
    URGENCY,
    Phase,
    PhaseDependency,
    PhaseStatus,
    Task,
    TaskDependency,
    TaskStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tasks_lib.ledger.ledger import Transaction

MAX_RETRIES = 3
"""How often a task goes back into the queue when its holder fails or is lost; then it is blocked."""

_OPEN = (PhaseStatus.APPROVED, PhaseStatus.IN_PROGRESS)


@dataclass(frozen=True)
class Claimed:
    """A task that an agent holds now; *again* when it held it already."""

    task: Task
    again: bool


@dataclass(frozen=True)
class Released:
    """A task whose holder is lost or failed: `pending` again, or `blocked` after too many times."""

    task: Task
    holder: Agent | None


def ready(tx: Transaction, limit: int | None = None) -> list[Task]:
    """Return the tasks that can be claimed, those first that would be; at most *limit*."""
    return list(tx.session.scalars(_ready().limit(limit)))


def claim_next(tx: Transaction, agent_id: str) -> Claimed | None:
    """
    Give an agent the first ready task, or the one that it holds already.

    Returns:
        None when nothing is ready.

    Raises:
        NotFoundError: If there is no such agent.
        ConflictError: If the agent is stopped or crashed.
    """
    agent = _require_able(tx, agent_id)
    if held := _held(tx, agent):
        return Claimed(held, again=True)
    # PostgreSQL: skip what another transaction is about to take. SQLite has one writer, and drops the clause.
    first = _ready(Task.id).limit(1).with_for_update(of=Task, skip_locked=True)
    task = _take(tx, first.correlate(None).scalar_subquery())
    return None if task is None else _given(tx, agent, task)


def claim(tx: Transaction, task_id: str, agent_id: str) -> Claimed:
    """
    Give an agent this very task.

    Raises:
        NotFoundError: If there is no such task or agent.
        ConflictError: If the task is not ready, somebody else holds it, or the agent holds another one.
    """
    agent, task = _require_able(tx, agent_id), tx.tasks.require(task_id)
    if held := _held(tx, agent):
        if held.id == task_id:
            return Claimed(held, again=True)
        raise ConflictError(
            f"agent `{agent.name}` holds task `{held.id}` ({held.name})",
            why="an agent does one task at a time",
            hint=f"inv task.done {held.id}, or inv task.fail {held.id}",
        )
    taken = _take(tx, _ready(Task.id).where(Task.id == task_id).correlate(None).scalar_subquery())
    if taken is None:
        raise ConflictError(f"task `{task_id}` ({task.name}) cannot be claimed", why=obstacle(tx, task))
    return _given(tx, agent, taken)


def obstacle(tx: Transaction, task: Task) -> str:
    """Return why *task* is not ready, for people."""
    holder = holder_of(tx, task.id)
    if task.status is TaskStatus.IN_PROGRESS:
        return f"it is in progress, held by {holder.name}" if holder else "it is in progress, and its holder is gone"
    if task.status is not TaskStatus.PENDING:
        return f"it is {task.status}"
    if task.category in PLANNING:
        return f"its category is {task.category}: planning is not dispatched"
    if blockers := _unfinished(tx, task):
        return f"it waits for {', '.join(f'{one.id} ({one.name})' for one in blockers)}"
    phase = tx.phases.require(task.phase_id) if task.phase_id else None
    if phase and phase.status not in _OPEN:
        return f"its phase `{phase.name}` is {phase.status}"
    return f"its phase `{phase.name}` waits for another one" if phase else "another process is about to claim it"


def complete(tx: Transaction, task_id: str, summary: str | None = None, agent_id: str | None = None) -> list[Task]:
    """
    Finish a task that is in progress, and return the tasks that became ready by it.

    Its holder becomes idle and stays its last holder, who can be asked about it.

    Args:
        summary: What came of it, for those that depend on it.
        agent_id: Who says so; None for a person, who may say so of every task.

    Raises:
        NotFoundError: If there is no such task.
        ConflictError: If it is not in progress, or another agent holds it.
    """
    _settle(tx, task_id, agent_id, status=TaskStatus.COMPLETED, summary=summary)
    dependents = sa.select(TaskDependency.task_id).where(TaskDependency.depends_on_task_id == task_id)
    return list(tx.session.scalars(_ready().where(Task.id.in_(dependents))))


def fail(
    tx: Transaction, task_id: str, reason: str | None = None, agent_id: str | None = None, *, block: bool = False
) -> Task:
    """
    Give up a task that is in progress: pending again, or blocked after MAX_RETRIES.

    Args:
        reason: Why, kept as the task's summary.
        agent_id: Who says so; None for a person.
        block: Whether to block it at once, until somebody asks for a retry.

    Raises:
        NotFoundError: If there is no such task.
        ConflictError: If it is not in progress, or another agent holds it.
    """
    retries = tx.tasks.require(task_id).retry_count + 1
    status = TaskStatus.BLOCKED if block or retries > MAX_RETRIES else TaskStatus.PENDING
    return _settle(tx, task_id, agent_id, status=status, retry_count=retries, summary=reason)


def retry(tx: Transaction, task_id: str) -> Task:
    """
    Put a blocked task back into the queue, with all its retries.

    Raises:
        NotFoundError: If there is no such task.
        ConflictError: If it is not blocked.
    """
    task = tx.tasks.require(task_id)
    if task.status is not TaskStatus.BLOCKED:
        raise ConflictError(f"task `{task_id}` ({task.name}) is {task.status}, not blocked")
    return tx.tasks.update(task_id, status=TaskStatus.PENDING, retry_count=0)


def release_stale(tx: Transaction, lost: Callable[[Agent], bool] = is_lost) -> list[Released]:
    """
    Give up the tasks of holders that are stopped, crashed or gone, or whose process has died on this machine.

    Args:
        lost: Whether an agent's process has died; who cannot be told counts as alive.

    Returns:
        What was released; an agent whose process has died is `crashed` then.
    """
    released = []
    for task, holder in stale(tx, lost):
        if holder is not None:
            tx.agents.update(holder.id, status=AgentStatus.CRASHED)
        retries = task.retry_count + 1
        status = TaskStatus.PENDING if retries <= MAX_RETRIES else TaskStatus.BLOCKED
        last = holder or tx.agents.find_by_task_id(task.id)
        released.append(Released(tx.tasks.update(task.id, status=status, retry_count=retries), last))
    return released


def stale(tx: Transaction, lost: Callable[[Agent], bool] = is_lost) -> list[tuple[Task, Agent | None]]:
    """Return the tasks in progress that nobody works on, with the holder whose process has died, if so."""
    held = (
        sa.select(Task, Agent)
        .outerjoin(Agent, sa.and_(Agent.task_id == Task.id, Agent.status.in_(HOLDING)))
        .where(sa.text("tasks.status = 'in_progress'"))
        .order_by(Task.id)
    )
    rows = tx.session.execute(held).tuples().all()
    return [(task, holder) for task, holder in rows if holder is None or lost(holder)]


def holder_of(tx: Transaction, task_id: str) -> Agent | None:
    """Return the agent that holds a task in progress: not one that is gone, nor one that held it before."""
    return tx.session.scalars(sa.select(Agent).where(Agent.task_id == task_id, Agent.status.in_(HOLDING))).first()


def queue_state(tx: Transaction) -> dict[str, int]:
    """Return how many tasks are ready, waiting, planning, in progress, blocked and completed."""
    counted = sa.select(Task.status, Task.category.in_(PLANNING), sa.func.count()).group_by(Task.status, sa.text("2"))
    counts = {(status, bool(planning)): number for status, planning, number in tx.session.execute(counted)}

    def of(status: TaskStatus) -> int:
        return counts.get((status, False), 0) + counts.get((status, True), 0)

    now = tx.session.scalar(sa.select(sa.func.count()).select_from(_ready(Task.id).order_by(None).subquery())) or 0
    return {
        "ready": now,
        "waiting": counts.get((TaskStatus.PENDING, False), 0) - now,
        "planning": counts.get((TaskStatus.PENDING, True), 0),
        "in_progress": of(TaskStatus.IN_PROGRESS),
        "blocked": of(TaskStatus.BLOCKED),
        "completed": of(TaskStatus.COMPLETED),
    }


def _ready(*columns: sa.ColumnElement[str] | sa.orm.InstrumentedAttribute[str]) -> sa.Select[Any]:
    """Return the query of the ready tasks in the order of the queue, which `ix_tasks_queue` serves."""
    blocker, before = aliased(Task), aliased(Phase)
    unfinished = (
        sa.select(TaskDependency.task_id)
        .join(blocker, blocker.id == TaskDependency.depends_on_task_id)
        .where(TaskDependency.task_id == Task.id, blocker.status != TaskStatus.COMPLETED)
    )
    phase_waits = (
        sa.select(PhaseDependency.phase_id)
        .join(before, before.id == PhaseDependency.depends_on_phase_id)
        .where(PhaseDependency.phase_id == Phase.id, before.status != PhaseStatus.COMPLETED)
    )
    phase_open = sa.select(Phase.id).where(
        Phase.id == Task.phase_id, Phase.status.in_(_OPEN), ~phase_waits.correlate(Phase).exists()
    )
    query: sa.Select[Any] = sa.select(*(columns or (Task,)))  # type: ignore[assignment]
    return query.where(
        # As text: an index with a condition serves no parameter.
        sa.text("tasks.status = 'pending'"),
        Task.category.not_in(PLANNING),
        ~unfinished.correlate(Task).exists(),
        sa.or_(Task.phase_id.is_(None), phase_open.correlate(Task).exists()),
    ).order_by(URGENCY, Task.order, Task.created_at, Task.id)


def _take(tx: Transaction, task_id: sa.ScalarSelect[str]) -> Task | None:
    taken = (
        sa.update(Task)
        .where(Task.id == task_id, Task.status == TaskStatus.PENDING)
        .values(status=TaskStatus.IN_PROGRESS, updated_at=tx.clock())
        .returning(Task)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    return tx.session.scalars(taken).first()


def _given(tx: Transaction, agent: Agent, task: Task) -> Claimed:
    tx.agents.update(agent.id, task_id=task.id, initiative_id=task.initiative_id, status=AgentStatus.RUNNING)
    return Claimed(task, again=False)


def _require_able(tx: Transaction, agent_id: str) -> Agent:
    agent = tx.agents.require(agent_id)
    if agent.status in GONE:
        raise ConflictError(
            f"agent `{agent.name}` is {agent.status}",
            why="what it held may have gone to another one",
            hint=f"inv agent.register {agent.name}",
        )
    return agent


def _held(tx: Transaction, agent: Agent) -> Task | None:
    """Return the task that *agent* holds: one in progress that it was given, and nobody since."""
    task = tx.tasks.find_by_id(agent.task_id) if agent.task_id else None
    if task is None or task.status is not TaskStatus.IN_PROGRESS:
        return None
    holder = holder_of(tx, task.id)
    return task if holder is not None and holder.id == agent.id else None


def _settle(tx: Transaction, task_id: str, agent_id: str | None, **values: object) -> Task:
    """Change a task in progress; its holder is idle then."""
    task, holder = tx.tasks.require(task_id), holder_of(tx, task_id)
    if task.status is not TaskStatus.IN_PROGRESS:
        raise ConflictError(f"task `{task_id}` ({task.name}) is {task.status}, not in progress")
    if agent_id is not None and (holder is None or holder.id != agent_id):
        raise ConflictError(
            f"task `{task_id}` ({task.name}) is held by {holder.name if holder else 'nobody'}",
            why="only its holder finishes it or gives it up",
        )
    if values.get("summary") is None:
        values.pop("summary", None)
    if holder is not None:
        tx.agents.update(holder.id, status=AgentStatus.IDLE)
    return tx.tasks.update(task_id, **values)


def _unfinished(tx: Transaction, task: Task) -> Sequence[Task]:
    return [
        blocker
        for one in tx.tasks.get_dependencies(task.id)
        if (blocker := tx.tasks.require(one)).status is not TaskStatus.COMPLETED
    ]
