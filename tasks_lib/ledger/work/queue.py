"""
The work queue: what is ready, who claims it, and what becomes of it.

The table is the queue. A claim is one UPDATE that names the first ready task and finds it still pending;
who comes second gets the next one. Planning categories are never dispatched.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tasks_lib.errors import ConflictError
from tasks_lib.ledger.agents.liveness import is_lost
from tasks_lib.ledger.schema.agents import GONE, HOLDING, Agent, AgentStatus
from tasks_lib.ledger.schema.work import PLANNING, Phase, Task, TaskStatus
from tasks_lib.ledger.work import queue_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.repositories.work import PhaseRepository, TaskRepository

MAX_RETRIES = 3
"""How often a task goes back into the queue when its holder fails or is lost; then it is blocked."""


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
    return list(tx.session.scalars(queue_statements.READY.limit(limit)))


@contextmanager
def becoming_ready(tx: Transaction) -> Iterator[list[Task]]:
    """Yield a list, which has the tasks that the body made ready when it is over."""
    before, found = {task.id for task in ready(tx)}, list[Task]()
    yield found
    found += [task for task in ready(tx) if task.id not in before]


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
    if mine := held_by(tx, agent):
        return Claimed(mine, again=True)
    return _given(tx, agent, tx.session.scalars(queue_statements.TAKE_FIRST, {"moment": tx.clock()}).first())


def claim(tx: Transaction, task_id: str, agent_id: str) -> Claimed:
    """
    Give an agent this very task.

    Raises:
        NotFoundError: If there is no such task or agent.
        ConflictError: If the task is not ready, somebody else holds it, or the agent holds another one.
    """
    agent, task = _require_able(tx, agent_id), tx.tasks.require(task_id)
    if mine := held_by(tx, agent):
        if mine.id == task_id:
            return Claimed(mine, again=True)
        raise ConflictError(
            f"agent `{agent.name}` holds task `{mine.id}` ({mine.name})",
            why="an agent does one task at a time",
            hint=f"inv task.done {mine.id}, or inv task.fail {mine.id}",
        )
    taken = _given(
        tx, agent, tx.session.scalars(queue_statements.TAKE, {"task": task_id, "moment": tx.clock()}).first()
    )
    if taken is None:
        # PostgreSQL: whom we waited for has changed it since we read it.
        why = obstacle(tx, tx.tasks.require(task_id)) or "another process is about to claim it"
        raise ConflictError(f"task `{task_id}` ({task.name}) cannot be claimed", why=why)
    return taken


def obstacle(tx: Transaction, task: Task) -> str:
    """Return why *task* is not ready, for people; empty if it is."""
    if task.status is TaskStatus.IN_PROGRESS:
        holder = holder_of(tx, task.id)
        return f"it is in progress, held by {holder.name}" if holder else "it is in progress, and its holder is gone"
    if task.status is not TaskStatus.PENDING:
        return f"it is {task.status}"
    if task.category in PLANNING:
        return f"its category is {task.category}: planning is not dispatched"
    if blockers := _unfinished(tx.tasks, task.id):
        return f"it waits for {', '.join(f'{one.id} ({one.name})' for one in blockers)}"
    return _closed(tx, tx.phases.require(task.phase_id)) if task.phase_id else ""


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
    return list(tx.session.scalars(queue_statements.FREED, {"task": task_id}))


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
    status = TaskStatus.BLOCKED if block else _after(retries)
    _settle(tx, task_id, agent_id, status=status, retry_count=retries, summary=reason)
    return tx.tasks.require(task_id)


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
    # PostgreSQL: what another process releases meanwhile may be claimed again before we come to it. Whoever has the
    # row sees to it; the holders are looked up after that.
    ours = set(tx.session.scalars(queue_statements.LOCK_HELD))
    found = [(task, holder) for task, holder in stale(tx, lost) if task.id in ours]
    # The oldest first, as `registration.stop_orphaned_agents` does: on PostgreSQL the two would lock each other out.
    for one in sorted((holder for _, holder in found if holder), key=lambda one: (one.created_at, one.id)):
        tx.agents.update(one.id, status=AgentStatus.CRASHED)
    released = []
    for task, holder in found:
        last = holder or tx.agents.find_by_task_id(task.id)
        retries = task.retry_count + 1
        released.append(Released(tx.tasks.update(task.id, status=_after(retries), retry_count=retries), last))
    return released


def stale(tx: Transaction, lost: Callable[[Agent], bool] = is_lost) -> list[tuple[Task, Agent | None]]:
    """Return the tasks in progress that nobody works on, with the holder whose process has died, if so."""
    return [(task, holder) for task, holder in held(tx) if holder is None or lost(holder)]


def held(tx: Transaction) -> list[tuple[Task, Agent | None]]:
    """Return the tasks in progress, each with its holder unless that is gone."""
    return [(task, holder) for task, holder in tx.session.execute(queue_statements.HELD)]


def holder_of(tx: Transaction, task_id: str) -> Agent | None:
    """Return the agent that holds a task in progress: not one that is gone, nor one that held it before."""
    return tx.session.scalars(queue_statements.HOLDER, {"task": task_id}).first()


def held_by(tx: Transaction, agent: Agent) -> Task | None:
    """Return the task that *agent* holds, if any."""
    task = tx.tasks.find_by_id(agent.task_id) if agent.task_id and agent.status in HOLDING else None
    return task if task is not None and task.status is TaskStatus.IN_PROGRESS else None


def queue_state(tx: Transaction) -> dict[str, int]:
    """Return how many tasks are ready, waiting, planning, in progress, blocked and completed."""
    counted = sa.select(Task.status, Task.category.in_(PLANNING), sa.func.count()).group_by(Task.status, sa.text("2"))
    counts = {(status, bool(planning)): number for status, planning, number in tx.session.execute(counted)}

    def of(status: TaskStatus) -> int:
        return counts.get((status, False), 0) + counts.get((status, True), 0)

    now = (
        tx.session.scalar(sa.select(sa.func.count()).select_from(queue_statements.READY_IDS.order_by(None).subquery()))
        or 0
    )
    return {
        "ready": now,
        "waiting": counts.get((TaskStatus.PENDING, False), 0) - now,
        "planning": counts.get((TaskStatus.PENDING, True), 0),
        "in_progress": of(TaskStatus.IN_PROGRESS),
        "blocked": of(TaskStatus.BLOCKED),
        "completed": of(TaskStatus.COMPLETED),
    }


def _require_able(tx: Transaction, agent_id: str) -> Agent:
    """Return an agent that can work; PostgreSQL: as nobody else changes it until we commit."""
    agent = tx.session.scalars(queue_statements.LOCK_AGENT, {"agent": agent_id}).first()
    if agent is None:
        return tx.agents.require(agent_id)  # which says that there is none
    if agent.status in GONE:
        raise ConflictError(
            f"agent `{agent.name}` is {agent.status}",
            why="what it held may have gone to another one",
            hint=f"inv agent.register {agent.name}",
        )
    return agent


def _given(tx: Transaction, agent: Agent, task: Task | None) -> Claimed | None:
    """Make *agent* the holder of a task that was taken for it, if one was."""
    if task is None:
        return None
    tx.session.execute(
        queue_statements.SET_AGENT,
        {
            "agent": agent.id,
            "task_id": task.id,
            "initiative_id": task.initiative_id,
            "status": AgentStatus.RUNNING,
            "updated_at": tx.clock(),
        },
    )
    return Claimed(task, again=False)


def _settle(tx: Transaction, task_id: str, agent_id: str | None, **values: object) -> None:
    """Change a task in progress; its holder is idle then."""
    row = tx.session.execute(queue_statements.LOCK_TASK, {"task": task_id}).first()
    task, holder = row or (tx.tasks.require(task_id), None)
    if task.status is not TaskStatus.IN_PROGRESS:
        raise ConflictError(f"task `{task_id}` ({task.name}) is {task.status}, not in progress")
    if agent_id is not None and (holder is None or holder.id != agent_id):
        raise ConflictError(
            f"task `{task_id}` ({task.name}) is held by {holder.name if holder else 'nobody'}",
            why="only its holder finishes it or gives it up",
        )
    moment = tx.clock()
    given = {name: value for name, value in values.items() if value is not None}
    tx.session.execute(queue_statements.SET_TASK, {"task": task_id, "updated_at": moment, **given})
    if holder is not None:
        tx.session.execute(
            queue_statements.SET_AGENT, {"agent": holder.id, "updated_at": moment, "status": AgentStatus.IDLE}
        )


def _after(retries: int) -> TaskStatus:
    return TaskStatus.PENDING if retries <= MAX_RETRIES else TaskStatus.BLOCKED


def _closed(tx: Transaction, phase: Phase) -> str:
    """Return why a phase's tasks are not dispatched; empty if they are."""
    if phase.status not in queue_statements.OPEN:
        return f"its phase `{phase.name}` is {phase.status}"
    before = _unfinished(tx.phases, phase.id)
    return f"its phase `{phase.name}` waits for {', '.join(f'`{one.name}`' for one in before)}" if before else ""


def _unfinished(nodes: TaskRepository | PhaseRepository, node: str) -> list[Task | Phase]:
    """Return what a task or a phase still waits for."""
    found = [nodes.require(one) for one in nodes.get_dependencies(node)]
    return [one for one in found if one.status != TaskStatus.COMPLETED]
