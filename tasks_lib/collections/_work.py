"""
Work as the commands on tasks, phases and initiatives show it: who holds what, what waits, what became ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections._ledger import documents
from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.store.names import short_id
from tasks_lib.workflows.ledger_access import acting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasks_lib.ledger.ledger import Ledger, Transaction
    from tasks_lib.ledger.schema.agents import Agent
    from tasks_lib.ledger.schema.work import Task
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project


class Standing:
    """
    How tasks stand, as of one transaction; more than their status tells.

    Attributes:
        blockers: What each task waits for, by ids.
        holders: Who holds a task in progress.
        lost: The tasks in progress that nobody works on any more.
    """

    def __init__(self, tx: Transaction) -> None:
        from tasks_lib.ledger.repositories import graph
        from tasks_lib.ledger.work import queue

        self.blockers = graph.TASKS.all(tx.session)
        self.holders = {task.id: holder for task, holder in queue.held(tx) if holder is not None}
        self.lost = {task.id for task, _ in queue.stale(tx)}
        self._ready = {task.id for task in queue.ready(tx)}

    def of(self, task: Task) -> str:
        """Return how *task* stands, in a word."""
        from tasks_lib.ledger.schema.work import PLANNING, TaskStatus

        if task.id in self.lost:
            return "lost"
        if task.status is not TaskStatus.PENDING:
            return task.status
        return "ready" if task.id in self._ready else "planning" if task.category in PLANNING else "waiting"

    def document(self, task: Task) -> dict[str, Any]:
        """Return *task* for JSON, with how it stands."""
        holder = self.holders.get(task.id)
        return {
            **documents([task])[0],
            "standing": self.of(task),
            "holder": holder.name if holder else None,
            "depends_on": self.blockers.get(task.id, []),
        }


def settler(tx: Transaction, project: Project, name: str) -> Agent | None:
    """
    Return the agent that finishes a task or gives it up; None is a person, who has to say so.

    Raises:
        NotFoundError: If there is no agent *name*.
        LedgerError: If the worktree has none, or several.
    """
    from tasks_lib.ledger.store.names import USER

    return None if name == USER else acting(tx, project, name)


def held(tx: Transaction, agent: Agent | None, name: str) -> Task:
    """
    Return the task that *name* names; without one, the task that *agent* holds.

    Raises:
        LedgerError: If it holds none.
    """
    from tasks_lib.ledger.work import queue

    if name:
        return tx.tasks.named(name)
    if agent is None:
        raise LedgerError("which task?", why="a person holds none", hint="inv task.list --status in_progress")
    task = queue.held_by(tx, agent)
    if task is None:
        raise LedgerError(f"agent `{agent.name}` holds no task", hint="inv task.claim")
    return task


def release(ledger: Ledger, narrator: Narrator) -> list[dict[str, Any]]:
    """Put the tasks of lost holders back into the queue, say so, and return them for JSON."""
    from tasks_lib.ledger.work import queue

    with ledger.read() as tx:  # which waits for nobody: mostly there is nothing to release
        if not queue.stale(tx):
            return []
    with ledger.write() as tx:
        released = queue.release_stale(tx)
    for one in released:
        who = f"{one.holder.name} is gone" if one.holder else "nobody held it"
        narrator.say(
            f"released {short_id(one.task.id)} {one.task.name}: {who}; it is {one.task.status},"
            f" lost or failed {one.task.retry_count} time{'s' if one.task.retry_count > 1 else ''}"
        )
    return documents(one.task for one in released)


def handed(tx: Transaction, agent: Agent, wanted: str) -> tuple[dict[str, Any], str]:
    """
    Claim the task *wanted* for *agent*, or the first that is ready, and return all that it needs, as data and as text.

    Raises:
        ConflictError: If the task cannot be claimed, or the agent is stopped.
    """
    from tasks_lib.ledger.work import queue

    claimed = queue.claim(tx, tx.tasks.named(wanted).id, agent.id) if wanted else queue.claim_next(tx, agent.id)
    if claimed is None:
        state = queue.queue_state(tx)
        holders = sorted(holder.name for _, holder in queue.held(tx) if holder is not None)
        empty: dict[str, Any] = {"task": None, "again": False, "agent": agent.name, "builds_on": [], "queue": state}
        return empty, _nothing(state, holders)
    task = claimed.task
    before = [tx.tasks.require(one) for one in tx.tasks.get_dependencies(task.id)]
    builds_on = [{"id": one.id, "name": one.name, "summary": one.summary} for one in before]
    data = {
        "task": documents([task])[0],
        "again": claimed.again,
        "agent": agent.name,
        "builds_on": builds_on,
        "queue": None,
    }
    lines = [f"{short_id(task.id)}  {task.name}"]
    if task.description:
        lines += ["", task.description]
    if task.retry_count and task.summary:
        lines += ["", f"tried before: {task.summary}"]
    if before:
        lines += ["", "builds on", *(f"  {one.name}: {one.summary or '(no summary)'}" for one in before)]
    return data, "\n".join(lines)


def named(tasks: Iterable[Task]) -> list[tuple[str, str]]:
    """Return the lines of `pairs` for tasks that became ready."""
    return [("ready", f"{short_id(task.id)}  {task.name}") for task in tasks]


def words(text: str) -> list[str]:
    """Return what is listed in *text*, between commas."""
    return [word for part in text.split(",") if (word := part.strip())]


def projects(tx: Transaction, text: str) -> list[str]:
    """
    Return the ids of the projects that are listed in *text*, by name or id.

    Raises:
        NotFoundError: If there is no such project.
    """
    known = {one.name: one.id for one in tx.projects.find_all()}
    return [known.get(word) or tx.projects.named(word).id for word in words(text)]


def require_finished(tasks: Iterable[Task], what: str, *, force: bool) -> None:
    """
    Refuse to go on with unfinished *tasks*, which would go with *what*.

    Raises:
        ConflictError: If there are some, without *force*.
    """
    unfinished = [task.name for task in tasks if task.status != "completed"]
    if unfinished and not force:
        shown = ", ".join(unfinished[:5]) + (", ..." if len(unfinished) > 5 else "")
        raise ConflictError(f"{what} has {len(unfinished)} unfinished tasks", why=shown, hint="pass --force")


def _nothing(state: dict[str, int], holders: list[str]) -> str:
    """Return why nothing is ready."""
    said = {
        "waiting": "waiting for others",
        "in_progress": f"in progress ({', '.join(holders)})" if holders else "in progress",
        "blocked": "blocked",
        "planning": "planning, which is not dispatched",
    }
    reasons = [f"{state[name]} {text}" for name, text in said.items() if state[name]]
    if state["ready"]:
        reasons.insert(0, f"{state['ready']} about to be claimed by others")
    if not reasons:
        reasons = ["all is done" if state["completed"] else "there are no tasks"]
    return f"nothing is ready: {', '.join(reasons)}"
