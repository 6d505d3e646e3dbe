"""
Delete tasks and phases, together with what depends on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from tasks_lib.errors import ConflictError
from tasks_lib.ledger.schema.talk import ChatSession, ChatStatus, ChatTarget
from tasks_lib.ledger.schema.work import PhaseStatus, Task, TaskStatus
from tasks_lib.ledger.work import queue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasks_lib.ledger.ledger import Transaction


def delete_task(tx: Transaction, task_id: str, *, force: bool = False) -> list[Task]:
    """
    Delete a task with its parts, and return the tasks that became ready because they waited for it.

    Raises:
        NotFoundError: If the task does not exist.
        ConflictError: Without *force*, if one of the tasks is in progress, or unfinished while others wait for it.
    """
    task = tx.tasks.require(task_id)
    going = _with_parts(tx, Task.id == task_id)
    if not force:
        _require_unneeded(tx, going, [], f"task `{task.name}`", f"inv task.delete {task_id} --force")
    with queue.becoming_ready(tx) as freed:
        _close_chats(tx, ChatTarget.TASK, going)
        tx.tasks.delete(task_id)
    return freed


def delete_phase(tx: Transaction, phase_id: str, *, force: bool = False) -> list[Task]:
    """
    Delete a phase with its tasks, and return the tasks that became ready because they waited for them.

    Raises:
        NotFoundError: If the phase does not exist.
        ConflictError: As `delete_task`.
    """
    phase = tx.phases.require(phase_id)
    going = _with_parts(tx, Task.phase_id == phase_id)
    if not force:
        later = tx.phases.get_dependents(phase_id) if phase.status is not PhaseStatus.COMPLETED else []
        names = [tx.phases.require(phase).name for phase in later]
        _require_unneeded(tx, going, names, f"phase `{phase.name}`", f"inv phase.delete {phase_id} --force")
    with queue.becoming_ready(tx) as freed:
        _close_chats(tx, ChatTarget.TASK, going)
        _close_chats(tx, ChatTarget.PHASE, {phase_id})
        tx.phases.delete(phase_id)
    return freed


def require_finished(tasks: Iterable[Task], what: str, *, force: bool) -> None:
    """
    Refuse to delete *what* while any of its *tasks* is unfinished.

    Raises:
        ConflictError: If one is, without *force*.
    """
    unfinished = [task.name for task in tasks if task.status is not TaskStatus.COMPLETED]
    if unfinished and not force:
        names = ", ".join(unfinished[:5]) + (", ..." if len(unfinished) > 5 else "")
        raise ConflictError(f"{what} has {len(unfinished)} unfinished tasks", why=names, hint="pass --force")


def _with_parts(tx: Transaction, which: sa.ColumnElement[bool]) -> dict[str, Task]:
    """Return the tasks that match *which*, and all their parts, by id."""
    going = sa.select(Task.id).where(which).cte("going", recursive=True)
    going = going.union(sa.select(Task.id).join(going, Task.parent_task_id == going.c.id))
    return {task.id: task for task in tx.session.scalars(sa.select(Task).where(Task.id.in_(sa.select(going.c.id))))}


def _require_unneeded(tx: Transaction, going: dict[str, Task], waiting: list[str], what: str, force: str) -> None:
    """
    Refuse to delete tasks that are in progress, or that are unfinished while others wait for them.

    Args:
        waiting: The names of phases that wait.
        force: The command that deletes anyway.
    """
    if held := [task.name for task in going.values() if task.status is TaskStatus.IN_PROGRESS]:
        raise ConflictError(f"`{held[0]}` is in progress", why="its holder is still working on it", hint=force)
    unfinished = [task.id for task in going.values() if task.status is not TaskStatus.COMPLETED]
    freed = {id for task_id in unfinished for id in tx.tasks.get_dependents(task_id)} - going.keys()  # noqa: A001
    if waiting := sorted([*waiting, *(tx.tasks.require(task_id).name for task_id in freed)]):
        raise ConflictError(
            f"{what} is not finished, and others wait for it: {', '.join(waiting)}",
            why="they would become ready as if it were completed",
            hint=force,
        )


def _close_chats(tx: Transaction, target: ChatTarget, ids: Iterable[str]) -> None:
    # Chats have no foreign key to their target. Keep them, but closed.
    about = ChatSession.target_type == target, ChatSession.target_id.in_(ids), ChatSession.status == ChatStatus.ACTIVE
    closed = sa.update(ChatSession).where(*about).values(status=ChatStatus.CLOSED, updated_at=tx.clock())
    tx.session.execute(closed)
