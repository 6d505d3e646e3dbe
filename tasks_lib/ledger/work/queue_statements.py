"""
The SQL statements of the work queue, built once: building one takes longer than running it, while other writers wait.

For the same reason `queue` changes rows by statement, not through the session, so all reads here refresh the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from tasks_lib.ledger.schema.agents import HOLDING, Agent
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
    from enum import StrEnum

OPEN = (PhaseStatus.APPROVED, PhaseStatus.IN_PROGRESS)
"""The statuses of phases whose tasks can be claimed."""

_FRESH: dict[str, Any] = {"populate_existing": True}
_TASKS: Any = Task.__table__
_AGENTS: Any = Agent.__table__


def _literals(*values: StrEnum) -> list[sa.ColumnElement[Any]]:
    """Return *values* as SQL literals: a partial index cannot be used with parameters, and lists of them are slow."""
    return [sa.literal_column(f"'{value}'") for value in values]


_PENDING, _IN_PROGRESS, _COMPLETED = _literals(TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.COMPLETED)


def _ready(select: sa.Select[Any]) -> sa.Select[Any]:
    """Restrict a query of tasks to the ready ones, in the order of the queue; it uses the index `ix_tasks_queue`."""
    blocker, before = aliased(Task), aliased(Phase)
    unfinished = (
        sa.select(TaskDependency.task_id)
        .join(blocker, blocker.id == TaskDependency.depends_on_task_id)
        .where(TaskDependency.task_id == Task.id, blocker.status != _COMPLETED)
    )
    phase_waits = (
        sa.select(PhaseDependency.phase_id)
        .join(before, before.id == PhaseDependency.depends_on_phase_id)
        .where(PhaseDependency.phase_id == Phase.id, before.status != _COMPLETED)
    )
    phase_open = sa.select(Phase.id).where(
        Phase.id == Task.phase_id,
        Phase.status.in_(_literals(*OPEN)),
        ~phase_waits.correlate(Phase).exists(),
    )
    return select.where(
        Task.status == _PENDING,
        Task.category.not_in(_literals(*PLANNING)),
        ~unfinished.correlate(Task).exists(),
        sa.or_(Task.phase_id.is_(None), phase_open.correlate(Task).exists()),
    ).order_by(URGENCY, Task.order, Task.created_at, Task.id)


def _take(ready: sa.Select[Any]) -> Any:
    chosen = _TASKS.c.id == ready.correlate(None).scalar_subquery()
    taking = sa.update(_TASKS).where(chosen, _TASKS.c.status == _PENDING)
    taking = taking.values(status=TaskStatus.IN_PROGRESS, updated_at=sa.bindparam("moment"))
    return sa.select(Task).from_statement(taking.returning(*_TASKS.c)).execution_options(**_FRESH)


READY = _ready(sa.select(Task)).execution_options(**_FRESH)
READY_IDS = _ready(sa.select(Task.id))

_WAITED_FOR_IT = sa.select(TaskDependency.task_id).where(TaskDependency.depends_on_task_id == sa.bindparam("task"))
FREED = READY.where(Task.id.in_(_WAITED_FOR_IT))
"""The ready tasks among those that wait for `task`."""

# PostgreSQL: skip tasks that another transaction is taking (SQLite has one writer, and drops the clause). With
# key_share, a task that another transaction only refers to, as a new dependency does, is not skipped.
TAKE_FIRST = _take(READY_IDS.limit(1).with_for_update(of=Task, skip_locked=True, key_share=True))
TAKE = _take(READY_IDS.where(Task.id == sa.bindparam("task")))
"""Put the first ready task, or `task` if it is ready, in progress at `moment`."""

_HOLDING = Agent.status.in_(_literals(*HOLDING))
_WITH_HOLDER = (
    sa.select(Task, Agent).outerjoin(Agent, sa.and_(Agent.task_id == Task.id, _HOLDING)).execution_options(**_FRESH)
)
HELD = _WITH_HOLDER.where(Task.status == _IN_PROGRESS).order_by(Task.id)
"""The tasks in progress, each with its holder."""

HOLDER = sa.select(Agent).where(Agent.task_id == sa.bindparam("task"), _HOLDING).execution_options(**_FRESH)

LOCK_HELD = sa.select(Task.id).where(Task.status == _IN_PROGRESS).with_for_update(skip_locked=True, key_share=True)
LOCK_TASK = _WITH_HOLDER.where(Task.id == sa.bindparam("task")).with_for_update(of=Task)
LOCK_AGENT = sa.select(Agent).where(Agent.id == sa.bindparam("agent")).with_for_update().execution_options(**_FRESH)

SET_TASK = sa.update(_TASKS).where(_TASKS.c.id == sa.bindparam("task"))
SET_AGENT = sa.update(_AGENTS).where(_AGENTS.c.id == sa.bindparam("agent"))
"""Set the columns passed as parameters."""
