"""
The work queue: claim, complete, fail and release tasks.

The table is the queue. A claim is one UPDATE of the first ready task, if that is still pending; a concurrent claim
gets the next task. Tasks of planning categories cannot be claimed.
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
"""How often a task goes back into the queue when its holder fails or is lost, before it is blocked."""


@dataclass(frozen=True)
class Claimed:
    """A task that an agent holds; *again* if it held the task before the claim."""

    task: Task
    again: bool


@dataclass(frozen=True)
class Released:
    """A task whose holder is lost: `pending` again, or `blocked` after too many retries."""

    task: Task
    holder: Agent | None


def ready(tx: Transaction, limit: int | None = None) -> list[Task]:
    """Return at most *limit* tasks that can be claimed, in the order of the queue."""
    return list(tx.session.scalars(queue_statements.READY.limit(limit)))


@contextmanager
def becoming_ready(tx: Transaction) -> Iterator[list[Task]]:
    """Yield a list that, after the body, contains the tasks that the body made ready."""
    before, found = {task.id for task in ready(tx)}, list[Task]()
    yield found
    found += [task for task in ready(tx) if task.id not in before]


def claim_next(tx: Transaction, agent_id: str) -> Claimed | None:
    """
    Claim the first ready task for an agent, or return the one that it holds already.

    Returns:
        None when nothing is ready.

    Raises:
        NotFoundError: If the agent does not exist.
        ConflictError: If the agent is stopped or crashed.
    """
    agent = _require_able(tx, agent_id)
    if mine := held_by(tx, agent):
        return Claimed(mine, again=True)
    return _given(tx, agent, tx.session.scalars(queue_statements.TAKE_FIRST, {"moment": tx.clock()}).first())


def claim(tx: Transaction, task_id: str, agent_id: str) -> Claimed:
    """
    Claim this task for an agent.

    Raises:
        NotFoundError: If the task or agent does not exist.
        ConflictError: If the task is not ready, another agent holds it, or the agent holds another task.
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
        # PostgreSQL: the transaction that we waited for has changed it since we read it.
        why = obstacle(tx, tx.tasks.require(task_id)) or "another process is about to claim it"
        raise ConflictError(f"task `{task_id}` ({task.name}) cannot be claimed", why=why)
    return taken


def obstacle(tx: Transaction, task: Task) -> str:
    """Return the reason why *task* is not ready, empty if it is."""
    if task.status is TaskStatus.IN_PROGRESS:
        holder = holder_of(tx, task.id)
        return f"it is in progress, held by {holder.name}" if holder else "it is in progress, and its holder is gone"
    if task.status is not TaskStatus.PENDING:
        return f"it is {task.status}"
    if task.category in PLANNING:
        return f"its category is {task.category}: planning cannot be claimed"
    if blockers := _unfinished(tx.tasks, task.id):
        return f"it waits for {', '.join(f'{blocker.id} ({blocker.name})' for blocker in blockers)}"
    return _closed(tx, tx.phases.require(task.phase_id)) if task.phase_id else ""


def complete(tx: Transaction, task_id: str, summary: str | None = None, agent_id: str | None = None) -> list[Task]:
    """
    Complete a task that is in progress, and return the tasks that became ready.

    Its holder becomes idle, and stays its last holder, which can be asked about it.

    Args:
        summary: The outcome, for the tasks that depend on it.
        agent_id: The acting agent; None for a person, who may complete any task.

    Raises:
        NotFoundError: If the task does not exist.
        ConflictError: If it is not in progress, or another agent holds it.
    """
    _settle(tx, task_id, agent_id, status=TaskStatus.COMPLETED, summary=summary)
    return list(tx.session.scalars(queue_statements.FREED, {"task": task_id}))


def fail(
    tx: Transaction, task_id: str, reason: str | None = None, agent_id: str | None = None, *, block: bool = False
) -> Task:
    """
    Return a task in progress to the queue, or block it after MAX_RETRIES.

    Args:
        reason: Stored as the task's summary.
        agent_id: The acting agent; None for a person.
        block: Block it at once, until `retry`.

    Raises:
        NotFoundError: If the task does not exist.
        ConflictError: If it is not in progress, or another agent holds it.
    """
    retries = tx.tasks.require(task_id).retry_count + 1
    status = TaskStatus.BLOCKED if block else _after(retries)
    _settle(tx, task_id, agent_id, status=status, retry_count=retries, summary=reason)
    return tx.tasks.require(task_id)


def retry(tx: Transaction, task_id: str) -> Task:
    """
    Put a blocked task back into the queue, and reset its count of retries.

    Raises:
        NotFoundError: If the task does not exist.
        ConflictError: If it is not blocked.
    """
    task = tx.tasks.require(task_id)
    if task.status is not TaskStatus.BLOCKED:
        raise ConflictError(f"task `{task_id}` ({task.name}) is {task.status}, not blocked")
    return tx.tasks.update(task_id, status=TaskStatus.PENDING, retry_count=0)


def release_stale(tx: Transaction, lost: Callable[[Agent], bool] = is_lost) -> list[Released]:
    """
    Release the tasks of agents that are stopped, crashed or deleted, or whose process has died on this machine.

    Agents whose process has died become `crashed`.

    Args:
        lost: Whether an agent's process has died; unknown counts as alive.
    """
    # PostgreSQL: a task that another process releases concurrently may be claimed again before we reach it. So lock
    # the rows first, skip those that others have locked, and look the holders up afterwards.
    ours = set(tx.session.scalars(queue_statements.LOCK_HELD))
    found = [(task, holder) for task, holder in stale(tx, lost) if task.id in ours]
    # Oldest first, in the same order as `registration.stop_orphaned_agents`, because on PostgreSQL they could deadlock.
    for agent in sorted((holder for _, holder in found if holder), key=lambda agent: (agent.created_at, agent.id)):
        tx.agents.update(agent.id, status=AgentStatus.CRASHED)
    released = []
    for task, holder in found:
        last = holder or tx.agents.find_by_task_id(task.id)
        retries = task.retry_count + 1
        released.append(Released(tx.tasks.update(task.id, status=_after(retries), retry_count=retries), last))
    return released


def stale(tx: Transaction, lost: Callable[[Agent], bool] = is_lost) -> list[tuple[Task, Agent | None]]:
    """Return the tasks in progress without a live holder, with the holder whose process has died, if any."""
    return [(task, holder) for task, holder in held(tx) if holder is None or lost(holder)]


def held(tx: Transaction) -> list[tuple[Task, Agent | None]]:
    """Return the tasks in progress, each with its holder, or None if that is gone."""
    return [(task, holder) for task, holder in tx.session.execute(queue_statements.HELD)]


def holder_of(tx: Transaction, task_id: str) -> Agent | None:
    """Return the agent that holds a task in progress, not one that held it before."""
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
    """Return an agent that can work; on PostgreSQL its row stays locked until we commit."""
    agent = tx.session.scalars(queue_statements.LOCK_AGENT, {"agent": agent_id}).first()
    if agent is None:
        return tx.agents.require(agent_id)  # raises NotFoundError
    if agent.status in GONE:
        raise ConflictError(
            f"agent `{agent.name}` is {agent.status}",
            why="its task may have gone to another agent",
            hint=f"inv agent.register {agent.name}",
        )
    return agent


def _given(tx: Transaction, agent: Agent, task: Task | None) -> Claimed | None:
    """Record *agent* as the holder of the task that was taken for it, if any."""
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
    """Change a task in progress, and make its holder idle."""
    row = tx.session.execute(queue_statements.LOCK_TASK, {"task": task_id}).first()
    task, holder = row or (tx.tasks.require(task_id), None)
    if task.status is not TaskStatus.IN_PROGRESS:
        raise ConflictError(f"task `{task_id}` ({task.name}) is {task.status}, not in progress")
    if agent_id is not None and (holder is None or holder.id != agent_id):
        raise ConflictError(
            f"task `{task_id}` ({task.name}) is held by {holder.name if holder else 'no agent'}",
            why="only its holder can finish it or return it",
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
    """Return the reason why a phase's tasks cannot be claimed, empty if they can."""
    if phase.status not in queue_statements.OPEN:
        return f"its phase `{phase.name}` is {phase.status}"
    before = _unfinished(tx.phases, phase.id)
    return (
        f"its phase `{phase.name}` waits for {', '.join(f'`{blocker.name}`' for blocker in before)}" if before else ""
    )


def _unfinished(nodes: TaskRepository | PhaseRepository, node: str) -> list[Task | Phase]:
    """Return the unfinished rows that a task or a phase waits for."""
    found = [nodes.require(blocker) for blocker in nodes.get_dependencies(node)]
    return [blocker for blocker in found if blocker.status != TaskStatus.COMPLETED]
