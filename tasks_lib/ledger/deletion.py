"""
Deleting work that others may wait for, or chat about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from tasks_lib.errors import ConflictError
from tasks_lib.ledger import dispatch
from tasks_lib.ledger.schema.talk import ChatSession, ChatStatus, ChatTarget
from tasks_lib.ledger.schema.work import Task, TaskStatus

if TYPE_CHECKING:
    from tasks_lib.ledger.ledger import Transaction


def delete_task(tx: Transaction, task_id: str, *, force: bool = False) -> list[Task]:
    """
    Delete a task with its parts, and return the tasks that became ready because they waited for it.

    Raises:
        NotFoundError: If there is no such task.
        ConflictError: If an unfinished one goes that others wait for, or one that somebody works on, without *force*.
    """
    root = tx.tasks.require(task_id)
    doomed = sa.select(Task.id).where(Task.id == task_id).cte("doomed", recursive=True)
    doomed = doomed.union(sa.select(Task.id).join(doomed, Task.parent_task_id == doomed.c.id))
    going = list(tx.session.scalars(sa.select(Task).where(Task.id.in_(sa.select(doomed.c.id)))))
    ids = {task.id for task in going}
    open_ = [task for task in going if task.status is not TaskStatus.COMPLETED]
    waiting = sorted({one for task in open_ for one in tx.tasks.get_dependents(task.id)} - ids)
    held = [task.name for task in going if task.status is TaskStatus.IN_PROGRESS]
    if held and not force:
        raise ConflictError(
            f"`{held[0]}` is in progress",
            why="whoever holds it would finish what is no longer there",
            hint=f"inv task.delete {task_id} --force",
        )
    if waiting and not force:
        names = ", ".join(tx.tasks.require(one).name for one in waiting)
        raise ConflictError(
            f"task `{root.name}` is not finished, and others wait for it: {names}",
            why="without it they would be ready, as if it were done",
            hint=f"inv task.delete {task_id} --force",
        )
    before = {task.id for task in dispatch.ready(tx)}
    _close_chats(tx, ChatTarget.TASK, ids)
    tx.tasks.delete(task_id)
    return [task for task in dispatch.ready(tx) if task.id not in before]


def delete_phase(tx: Transaction, phase_id: str) -> None:
    """
    Delete a phase with its tasks.

    Raises:
        NotFoundError: If there is no such phase.
    """
    _close_chats(tx, ChatTarget.TASK, {task.id for task in tx.tasks.find_by_phase_id(phase_id)})
    _close_chats(tx, ChatTarget.PHASE, {phase_id})
    tx.phases.delete(phase_id)


def _close_chats(tx: Transaction, target: ChatTarget, ids: set[str]) -> None:
    # Chats name their target without a foreign key: they are kept, but nothing more can be said.
    about = ChatSession.target_type == target, ChatSession.target_id.in_(ids), ChatSession.status == ChatStatus.ACTIVE
    closed = sa.update(ChatSession).where(*about).values(status=ChatStatus.CLOSED, updated_at=tx.clock())
    tx.session.execute(closed.execution_options(synchronize_session=False))
