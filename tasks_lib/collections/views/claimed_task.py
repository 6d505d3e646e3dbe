"""
A claimed task with everything needed to work on it, or the reason why no task is ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections.views.rows import row_for_json
from tasks_lib.escaping import indent_rest
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.ledger.work import queue

if TYPE_CHECKING:
    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.agents import Agent
    from tasks_lib.ledger.work.queue import Claimed


def format_claim(tx: Transaction, agent: Agent, claimed: Claimed | None) -> tuple[dict[str, Any], str]:
    """Return what *agent* has claimed, for JSON and as text; with None, why nothing is ready."""
    if claimed is None:
        state = queue.queue_state(tx)
        holders = sorted(holder.name for _, holder in queue.held(tx) if holder is not None)
        empty: dict[str, Any] = {"task": None, "again": False, "agent": agent.name, "builds_on": [], "queue": state}
        return empty, _explain_nothing_ready(state, holders)
    task = claimed.task
    blockers = [tx.tasks.require(blocker) for blocker in tx.tasks.get_dependencies(task.id)]
    data = {
        "task": row_for_json(task),
        "again": claimed.again,
        "agent": agent.name,
        "builds_on": [{"id": blocker.id, "name": blocker.name, "summary": blocker.summary} for blocker in blockers],
        "queue": None,
    }
    lines = [f"{short_id(task.id)}  {task.name}"]
    if task.description:
        lines += ["", task.description]
    if task.retry_count and task.summary:
        lines += ["", f"tried before: {task.summary}"]
    if blockers:
        lines += [
            "",
            "builds on",
            *(f"  {blocker.name}: {indent_rest(blocker.summary or '(no summary)', '    ')}" for blocker in blockers),
        ]
    return data, "\n".join(lines)


def _explain_nothing_ready(state: dict[str, int], holders: list[str]) -> str:
    texts = {
        "waiting": "waiting for others",
        "in_progress": f"in progress ({', '.join(holders)})" if holders else "in progress",
        "blocked": "blocked",
        "planning": "planning, which is not handed out",
    }
    reasons = [f"{state[name]} {text}" for name, text in texts.items() if state[name]]
    if state["ready"]:
        reasons.insert(0, f"{state['ready']} about to be claimed by others")
    if not reasons:
        reasons = ["all tasks are completed" if state["completed"] else "no tasks were added"]
    return f"nothing is ready: {', '.join(reasons)}"
