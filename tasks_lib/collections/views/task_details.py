"""
Everything about one task, as `task.show` prints it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer
from tasks_lib.collections.views.rows import rows_for_json
from tasks_lib.collections.views.task_states import TaskStates
from tasks_lib.ledger.schema.work import TaskStatus
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.ledger.work import queue
from tasks_lib.output import format_pairs

if TYPE_CHECKING:
    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.work import Task


def show_task(tx: Transaction, task: Task) -> Answer:
    """Return *task* with its state, its place in the work and the tasks around it."""
    states = TaskStates(tx)
    phase = tx.phases.require(task.phase_id) if task.phase_id else None
    initiative = tx.initiatives.require(task.initiative_id) if task.initiative_id else None
    parent = tx.tasks.require(task.parent_task_id) if task.parent_task_id else None
    last, why = tx.agents.find_by_task_id(task.id), queue.obstacle(tx, task)
    related = {
        "waits for": [tx.tasks.require(blocker) for blocker in tx.tasks.get_dependencies(task.id)],
        "is awaited by": [tx.tasks.require(dependent) for dependent in tx.tasks.get_dependents(task.id)],
        "part": tx.tasks.find_by_parent_task_id(task.id),
    }
    rows = [
        ("task", f"{short_id(task.id)}  {task.name}"),
        ("state", states.state(task)),
        ("not ready", why if task.status is TaskStatus.PENDING else ""),
        ("category", f"{task.category}, {task.priority} priority, order {task.order}"),
        ("initiative", f"{short_id(initiative.id)}  {initiative.name}" if initiative else ""),
        ("phase", f"{short_id(phase.id)}  {phase.name} ({phase.status})" if phase else ""),
        ("part of", f"{short_id(parent.id)}  {parent.name}" if parent else ""),
        ("last holder", last.name if last else ""),
        ("tried", f"lost or failed {task.retry_count} times" if task.retry_count else ""),
        ("summary", task.summary or ""),
        *(
            (label, f"{short_id(other.id)}  {other.name} ({states.state(other)})")
            for label, others in related.items()
            for other in others
        ),
    ]
    text = format_pairs(row for row in rows if row[1]) + (f"\n\n{task.description}" if task.description else "")
    data = {
        **states.for_json(task),
        "obstacle": why or None,
        "last_holder": last.name if last else None,
        "waits_for": rows_for_json(related["waits for"]),
        "awaited_by": rows_for_json(related["is awaited by"]),
        "parts": rows_for_json(related["part"]),
    }
    return Answer(data, text)
