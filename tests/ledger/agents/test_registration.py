"""Agents come and go."""

from __future__ import annotations

import os

import psutil
import pytest

from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.agents import registration
from tasks_lib.ledger.agents.liveness import describe_status
from tasks_lib.ledger.schema.agents import AgentStatus
from tasks_lib.ledger.schema.work import TaskStatus
from tasks_lib.ledger.work import queue


def test_registering_creates_or_revives_agents(ledger):
    """A name of its own for each; one that comes back is the same and keeps what it holds, unless it was stopped."""
    with ledger.write() as tx:
        agent, other = (registration.register(tx, "r/a_1") for _ in range(2))
        assert agent.name != other.name
        initiative = tx.initiatives.create(name="i")
        tx.tasks.create(initiative_id=initiative.id, name="t")
        queue.claim_next(tx, agent.id)
        back = registration.register(tx, "r/a_1", name=agent.name, pid=os.getpid(), session_id="s")
        assert (back.id, back.status, back.session_id) == (agent.id, AgentStatus.RUNNING, "s")
        assert describe_status(back) == "running"
        with pytest.raises(ConflictError, match="is running in another worktree"):
            registration.register(tx, "r/b_2", name=agent.name)
        registration.stop(tx, agent.id)
        moved = registration.register(tx, "r/b_2", name=agent.name)
        assert (moved.id, moved.status, moved.worktree_id, moved.pid) == (agent.id, AgentStatus.IDLE, "r/b_2", None)


@pytest.mark.parametrize("name", ["user", "", "-x", "a b", "a\x1b[31m", "ü", "a" * 64])
def test_a_name_that_is_none(sqlite_ledger, name):
    """What is typed after flags and shown in terminals has no blanks, dashes in front or escapes."""
    with pytest.raises(LedgerError, match="is not a valid name"), sqlite_ledger.write() as tx:
        registration.register(tx, "r/main", name=name)


def test_a_worktree_that_is_gone(ledger):
    """Its agents are stopped and stay; what they held goes to the next one; other repositories' are left alone."""
    with ledger.write() as tx:
        gone, stays, other = (registration.register(tx, home) for home in ("r/gone_1", "r/main", "another/gone_1"))
        initiative = tx.initiatives.create(name="i")
        task = tx.tasks.create(initiative_id=initiative.id, name="t")
        queue.claim_next(tx, gone.id)
        assert [agent.id for agent in registration.stop_orphaned_agents(tx, "r", {"r/main"})] == [gone.id]
        assert registration.stop_orphaned_agents(tx, "r", {"r/main"}) == []
        statuses = {agent.id: agent.status for agent in tx.agents.find_all()}
        assert statuses == {gone.id: AgentStatus.STOPPED, stays.id: AgentStatus.IDLE, other.id: AgentStatus.IDLE}
        with pytest.raises(ConflictError, match="is stopped"):
            queue.claim_next(tx, gone.id)
        [released] = queue.release_stale(tx)
        assert (released.task.id, released.task.status) == (task.id, TaskStatus.PENDING)
        assert queue.claim_next(tx, stays.id).task.id == task.id


def test_the_clock_is_set(sqlite_ledger, tmp_path, monkeypatch):
    """Setting the machine's clock, which also moves the boot time, does not make agents look lost."""
    with sqlite_ledger.write() as tx:
        agent = registration.register(tx, "r/main", pid=os.getpid())
    (tmp_path / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    (tmp_path / "stat").write_text("btime 1000000000\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path), raising=False)  # Linux' only
    assert describe_status(agent) == "idle"


def test_the_order_of_several(sqlite_ledger):
    """Whatever changes several agents begins with the oldest; in another order two would lock each other out."""
    with sqlite_ledger.write() as tx:
        old, young = (registration.register(tx, home) for home in ("r/b", "r/a"))
        for agent, task in ((old, "b"), (young, "a")):
            tx.tasks.create(id=task, name="t")
            queue.claim(tx, task, agent.id)
        queue.release_stale(tx, lambda _: True)
        assert tx.agents.require(old.id).updated_at < tx.agents.require(young.id).updated_at
        for agent in (old, young):
            tx.agents.update(agent.id, status=AgentStatus.IDLE)
        assert [agent.id for agent in registration.stop_orphaned_agents(tx, "r", [])] == [old.id, young.id]
