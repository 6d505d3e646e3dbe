"""
All of a task, as `task.show` tells it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.collections import _work
from tasks_lib.collections._ledger import documents
from tasks_lib.collections._task import Answer
from tasks_lib.ledger.schema.work import TaskStatus
from tasks_lib.ledger.store.names import short_id
from tasks_lib.ledger.work import queue
from tasks_lib.output import pairs

if TYPE_CHECKING:
    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.work import Task


def task(tx: Transaction, found: Task) -> Answer:
    """Return *found* with all that is around it."""
    standing = _work.Standing(tx)
    phase = tx.phases.require(found.phase_id) if found.phase_id else None
    initiative = tx.initiatives.require(found.initiative_id) if found.initiative_id else None
    parent = tx.tasks.require(found.parent_task_id) if found.parent_task_id else None
    last, why = tx.agents.find_by_task_id(found.id), queue.obstacle(tx, found)
    near = {
        "waits for": [tx.tasks.require(one) for one in tx.tasks.get_dependencies(found.id)],
        "is awaited by": [tx.tasks.require(one) for one in tx.tasks.get_dependents(found.id)],
        "part": tx.tasks.find_by_parent_task_id(found.id),
    }
    rows = [
        ("task", f"{short_id(found.id)}  {found.name}"),
        ("stands", standing.of(found)),
        ("not ready", why if found.status is TaskStatus.PENDING else ""),
        ("category", f"{found.category}, {found.priority} priority, order {found.order}"),
        ("initiative", f"{short_id(initiative.id)}  {initiative.name}" if initiative else ""),
        ("phase", f"{short_id(phase.id)}  {phase.name} ({phase.status})" if phase else ""),
        ("part of", f"{short_id(parent.id)}  {parent.name}" if parent else ""),
        ("last holder", last.name if last else ""),
        ("tried", f"lost or failed {found.retry_count} times" if found.retry_count else ""),
        ("summary", found.summary or ""),
        *(
            (label, f"{short_id(one.id)}  {one.name} ({standing.of(one)})")
            for label, ones in near.items()
            for one in ones
        ),
    ]
    text = pairs(row for row in rows if row[1]) + (f"\n\n{found.description}" if found.description else "")
    data = {
        **standing.document(found),
        "obstacle": why or None,
        "last_holder": last.name if last else None,
        "waits_for": documents(near["waits for"]),
        "awaited_by": documents(near["is awaited by"]),
        "parts": documents(near["part"]),
    }
    return Answer(data, text)
