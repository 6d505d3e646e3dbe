"""
Register agents of worktrees, and mark them as stopped.
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
    Register agent *name*, creating it or reviving an existing one.

    A revived agent keeps its task unless it was stopped or had crashed.

    Args:
        worktree_id: Repository id and slug.
        name: A random one by default.
        pid: The agent's process; without it, the agent's death goes unnoticed.
        fields: Further fields of `Agent`.

    Raises:
        ConflictError: If an agent of that name is active in another worktree.
        LedgerError: If process *pid* does not exist, or *name* is not a valid name.
    """
    if name is not None and not is_name(name):
        raise LedgerError(
            f"`{name}` is not a valid name for an agent",
            why=f"a name has at most 63 letters, digits, `.`, `_` and `-`, and is not `{USER}`",
        )
    running = process(pid) if pid is not None else None
    if pid is not None and running is None:
        raise LedgerError(f"process {pid} does not exist", why="an agent without a live process counts as crashed")
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
    Mark an agent as stopped. The next claim releases its task, and agents that wait for its answer get an error.

    Raises:
        NotFoundError: If the agent does not exist.
    """
    wakeup.announce(tx)
    return tx.agents.update(agent_id, status=AgentStatus.STOPPED)


def stop_orphaned_agents(tx: Transaction, repository_id: str, worktree_ids: Collection[str]) -> list[Agent]:
    """Mark a repository's agents that are in none of *worktree_ids* as stopped, and return them."""
    ours = [agent for agent in tx.agents.find_all() if agent.worktree_id.startswith(f"{repository_id}/")]
    orphaned = [agent for agent in ours if agent.worktree_id not in worktree_ids]
    # Oldest first, in the same order as `queue.release_stale`, because on PostgreSQL the two could deadlock.
    return [stop(tx, agent.id) for agent in orphaned if agent.status not in GONE]


def _named(tx: Transaction, values: dict[str, Any]) -> Agent:
    """Create an agent with a random name that no other agent has."""
    proposed = propose_name()
    name, number = proposed, 1
    while tx.agents.find_by_name(name):
        number += 1
        name = f"{proposed}-{number}"
    return tx.agents.create(name=name, **values)
