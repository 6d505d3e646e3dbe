"""
Agents come and go: one registers from its worktree, and is stopped with it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger import wakeup
from tasks_lib.ledger.agents.liveness import is_lost, process
from tasks_lib.ledger.agents.names import USER, is_name, propose_name
from tasks_lib.ledger.schema.agents import GONE, AgentStatus

if TYPE_CHECKING:
    from collections.abc import Collection

    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.agents import Agent


def register(
    tx: Transaction, worktree_id: str, *, name: str | None = None, pid: int | None = None, **fields: Any
) -> Agent:
    """
    Return the agent *name* of a worktree: made, or known already and back.

    One that comes back keeps what it holds, unless it was stopped or had crashed.

    Args:
        worktree_id: Repository id and slug.
        name: By default one is made up.
        pid: The process that is the agent; without, only its status tells that it is gone.
        fields: Further fields of `Agent`.

    Raises:
        ConflictError: If an agent of that name is at work in another worktree.
        LedgerError: If there is no process *pid*, or *name* can be none.
    """
    if name is not None and not is_name(name):
        raise LedgerError(
            f"no agent can be called `{name}`",
            why=f"a name is letters, digits, `.`, `_` and `-`, at most 63, and not `{USER}`",
        )
    running = process(pid) if pid is not None else None
    if pid is not None and running is None:
        raise LedgerError(f"there is no process {pid}", why="an agent whose process is not there counts as crashed")
    where = {"worktree_id": worktree_id, "pid": None, "host": None, "pid_started_at": None}
    values = {**fields, **where, **(asdict(running) if running else {})}
    known = tx.agents.find_by_name(name) if name else None
    if known is None:
        return tx.agents.create(name=name, **values) if name else _named(tx, values)
    gone = known.status in GONE or is_lost(known)
    if known.worktree_id != worktree_id and not gone:
        raise ConflictError(
            f"agent `{known.name}` is {known.status} in another worktree",
            why=f"worktree {known.worktree_id}",
            hint="leave the name out, or choose another one",
        )
    return tx.agents.update(known.id, **values, **({"status": AgentStatus.IDLE} if gone else {}))


def stop(tx: Transaction, agent_id: str) -> Agent:
    """
    Mark an agent as stopped; what it holds is released by whoever looks next, and who waits for it is told.

    Raises:
        NotFoundError: If there is no such agent.
    """
    wakeup.announce(tx)
    return tx.agents.update(agent_id, status=AgentStatus.STOPPED)


def stop_orphaned_agents(tx: Transaction, repository_id: str, worktree_ids: Collection[str]) -> list[Agent]:
    """Mark the agents of a repository as stopped that belong to none of its worktrees, and return them."""
    ours = [agent for agent in tx.agents.find_all() if agent.worktree_id.startswith(f"{repository_id}/")]
    homeless = [agent for agent in ours if agent.worktree_id not in worktree_ids]
    # The oldest first, as `dispatch.release_stale` does: on PostgreSQL the two would lock each other out.
    return [stop(tx, agent.id) for agent in homeless if agent.status not in GONE]


def _named(tx: Transaction, values: dict[str, Any]) -> Agent:
    """Make an agent whose name nobody has."""
    proposed = propose_name()
    name, number = proposed, 1
    while tx.agents.find_by_name(name):
        number += 1
        name = f"{proposed}-{number}"
    return tx.agents.create(name=name, **values)
