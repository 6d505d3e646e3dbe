"""Agents, their accounts, and what they printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest

from tasks_lib.errors import ConflictError, NotFoundError

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Ticking:
    """A clock that goes on by a second each time it is read."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


def test_agents_are_found_by_name(ledger):
    """Agents by name, and the one that held a task last."""
    with replace(ledger, clock=Ticking()).write() as tx:
        task = tx.tasks.create(name="t").id
        owl, yak = (tx.agents.create(name=name, worktree_id="w", task_id=task) for name in ("owl", "yak"))
        tx.agents.update(yak.id, status="running")
        assert tx.agents.find_by_name("owl") == owl
        assert tx.agents.find_by_name("OWL") is None
        assert tx.agents.find_by_task_id(task) == yak
        assert tx.agents.find_by_task_id("other") is None
        assert tx.agents.named("yak") == tx.agents.named(yak.id) == tx.agents.named(yak.id[:8]) == yak
        with pytest.raises(NotFoundError, match="agent `ya` does not exist"):
            tx.agents.named("ya")


def test_one_task_one_holder(ledger):
    """The schema refuses a second agent with the same name and a second holder of a task."""
    with ledger.write() as tx:
        task = tx.tasks.create(name="t").id
        tx.agents.create(name="owl", worktree_id="w", task_id=task, status="running")
        for wrong in ({"name": "owl"}, {"name": "yak", "task_id": task, "status": "waiting_for_input"}):
            with pytest.raises(ConflictError), tx.session.begin_nested():
                tx.agents.create(worktree_id="w", **wrong)
        tx.agents.create(name="elk", worktree_id="w", task_id=task, status="idle")
        tx.agents.create(name="emu", worktree_id="w", status="running")
        tx.agents.create(name="gnu", worktree_id="w", status="running")


def test_what_agents_keep_as_json(ledger):
    """Results are kept as they are, and None is NULL, not JSON's null."""
    result = {"message": "Ünï", "n": [1, None, {"x": 1.5}]}
    with ledger.write() as tx:
        owl = tx.agents.create(name="owl", worktree_id="w", result=result)
        tx.agents.create(name="yak", worktree_id="w")
    with ledger.write() as tx:
        assert tx.agents.require(owl.id).result == result
        assert tx.agents.update(owl.id, result=None).result is None
        assert len(tx.agents.find_all(result=None)) == 2


def test_accounts_are_used_in_turn(ledger):
    """The one used longest ago is given out; those never used first, in their order; each provider has its own."""
    with replace(ledger, clock=Ticking()).write() as tx:
        for name, order in (("b", 1), ("a", 0), ("c", 1)):
            tx.accounts.create(id=name, email=name, sort_order=order)
        tx.accounts.create(id="x", email="x", provider="codex")
        assert tx.accounts.peek("claude").id == "a"
        assert tx.accounts.peek("claude").last_used_at is None
        assert "".join(tx.accounts.find_next_available("claude").id for _ in range(7)) == "abcabca"
        assert tx.accounts.find_next_available("codex").id == "x"
        assert tx.accounts.find_next_available("gemini") is None
        assert tx.accounts.peek("gemini") is None


def test_exhausted_accounts_are_left_out(ledger):
    """Until their limit ends, and without one until they are cleared by hand; what is known of a limit only grows."""
    with ledger.write() as tx:
        for name in ("a", "b"):
            tx.accounts.create(id=name, email=name)

    def at(hours):
        return replace(ledger, clock=lambda: NOON + hours * HOUR).write()

    with at(0) as tx:
        tx.accounts.mark_exhausted("a", NOON + 2 * HOUR)
        assert tx.accounts.mark_exhausted("a", NOON + HOUR).exhausted_until == NOON + 2 * HOUR
        assert [tx.accounts.find_next_available("claude").id for _ in range(2)] == ["b", "b"]
        tx.accounts.mark_exhausted("b", None)
        assert tx.accounts.mark_exhausted("b", NOON).exhausted_until is None
        assert tx.accounts.find_next_available("claude") is None
        assert tx.accounts.earliest_reset("claude") == NOON + 2 * HOUR
        assert tx.accounts.earliest_reset("codex") is None
    with at(2) as tx:
        back = tx.accounts.find_next_available("claude")
        assert (back.id, back.is_exhausted, back.exhausted_until) == ("a", False, None)
        assert tx.accounts.earliest_reset("claude") is None
        tx.accounts.mark_exhausted("a", NOON + 3 * HOUR)
        assert tx.accounts.clear_expired_exhaustion(NOON + 3 * HOUR - timedelta(microseconds=1)) == 0
        assert tx.accounts.clear_expired_exhaustion(NOON + 3 * HOUR) == 1
        assert tx.accounts.clear_expired_exhaustion(NOON + 100 * HOUR) == 0
        assert [account.is_exhausted for account in tx.accounts.find_all()] == [False, True]
        with pytest.raises(NotFoundError):
            tx.accounts.mark_exhausted("nothing", None)


def test_processes_share_accounts_out(ledger, place, crowd):
    """Six processes that ask at once, four times each, get each of three accounts eight times."""
    with ledger.write() as tx:
        for name in ("a", "b", "c"):
            tx.accounts.create(id=name, email=name)
    code = """
ledger, result = opened(), []
for _ in range(4):
    with ledger.write() as tx:
        account = tx.accounts.find_next_available("claude")
        result.append(account and account.id)
"""
    assert Counter(chain(*crowd(place, 6, code))) == {"a": 8, "b": 8, "c": 8}


def test_log_chunks_are_append_only(ledger):
    """Chunks stay in the order they were added, also those of deleted agents, and cannot be changed."""
    with replace(ledger, clock=Ticking()).write() as tx:
        for session, content in ((2, "c"), (1, "a"), (1, "b"), (2, "d")):
            chunk = tx.log_chunks.insert_chunk("gone", "owl", session, content)
        tx.log_chunks.insert_chunk("other", "yak", 1, "x")
        assert [chunk.content for chunk in tx.log_chunks.find_all(agent_id="gone")] == ["c", "a", "b", "d"]
        with pytest.raises(ConflictError, match="append-only"):
            tx.log_chunks.update(chunk.id, content="other")
        assert tx.log_chunks.get_session_count("gone") == 2
        for chunk in tx.log_chunks.find_all(agent_id="gone", session_number=1):
            tx.log_chunks.delete(chunk.id)
        assert tx.log_chunks.get_session_count("gone") == 2
        assert tx.log_chunks.get_session_count("absent") == 0
