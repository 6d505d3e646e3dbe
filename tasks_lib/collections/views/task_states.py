"""
The states of tasks as people see them: a task's status, its holder and its blockers together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections.views.rows import row_for_json
from tasks_lib.ledger.repositories import graph
from tasks_lib.ledger.schema.work import PLANNING, TaskStatus
from tasks_lib.ledger.work import queue

if TYPE_CHECKING:
    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.work import Task


class TaskStates:
    """
    The states of all tasks in one transaction.

    Attributes:
        blockers: For each task that waits, the ids of the tasks it depends on.
        holders: The agent that holds each task in progress, by the task's id.
        lost: The ids of tasks in progress whose agent is gone.
    """

    def __init__(self, tx: Transaction) -> None:
        self.blockers = graph.TASKS.all(tx.session)
        self.holders = {task.id: holder for task, holder in queue.held(tx) if holder is not None}
        self.lost = {task.id for task, _ in queue.stale(tx)}
        self._ready = {task.id for task in queue.ready(tx)}

    def state(self, task: Task) -> str:
        """Return lost, ready, waiting or planning, or else the task's status."""
        if task.id in self.lost:
            return "lost"
        if task.status is not TaskStatus.PENDING:
            return task.status
        return "ready" if task.id in self._ready else "planning" if task.category in PLANNING else "waiting"

    def for_json(self, task: Task) -> dict[str, Any]:
        """Return *task* as a JSON object, with its state, holder and dependencies."""
        holder = self.holders.get(task.id)
        return {
            **row_for_json(task),
            "standing": self.state(task),
            "holder": holder.name if holder else None,
            "depends_on": self.blockers.get(task.id, []),
        }
