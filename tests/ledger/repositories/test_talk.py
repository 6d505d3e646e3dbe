"""Conversations, messages, chat sessions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks_lib.errors import ConflictError, LedgerError, NotFoundError
from tasks_lib.ledger.schema.talk import ChatRole, ChatTarget

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def still(ledger):
    """Give a ledger with a stopped clock, with two agents and an initiative."""
    ledger = replace(ledger, clock=lambda: NOON)
    with ledger.write() as tx:
        for name in ("owl", "yak"):
            tx.agents.create(id=name, name=name, worktree_id="w")
        tx.initiatives.create(id="i", name="i")
    return ledger


def ids(rows):
    return [row.id for row in rows]


def test_conversations_wait_until_answered(still):
    """Questions wait in order until they are answered, once; an agent cannot ask itself."""
    with still.write() as tx:
        for name in ("b", "a"):
            tx.conversations.create(id=name, from_agent_id="owl", to_agent_id="yak", question=f"{name}?")
        tx.conversations.create(id="c", from_agent_id="yak", to_agent_id="owl", question="c?")
        assert ids(tx.conversations.find_pending_for_agent("yak")) == ["a", "b"]
        with pytest.raises(LedgerError, match="empty"):
            tx.conversations.answer("a", " \n")
        held = tx.conversations.require("a")
        assert tx.conversations.answer("a", "yes") is held
        assert (held.status, held.answer) == ("answered", "yes")
        with pytest.raises(ConflictError, match="answered already") as caught:
            tx.conversations.answer("a", "no")
        assert caught.value.why == "with: yes"
        with pytest.raises(NotFoundError):
            tx.conversations.answer("nothing", "yes")
        assert ids(tx.conversations.find_pending_for_agent("yak")) == ["b"]
        with pytest.raises(ConflictError):
            tx.conversations.create(from_agent_id="owl", to_agent_id="owl", question="?")


def test_one_of_many_answers(ledger, place, crowd):
    """Of those who answer a question at once one wins, and its answer stays."""
    with ledger.write() as tx:
        owl, yak = (tx.agents.create(name=name, worktree_id="w").id for name in ("owl", "yak"))
        asked = tx.conversations.create(from_agent_id=owl, to_agent_id=yak, question="?").id
    answered = crowd(
        place, 6, f"with opened().write() as tx: result = tx.conversations.answer({asked!r}, str(number)).answer"
    )
    (winner,) = {*answered} - {"ConflictError"}
    assert sorted(answered) == sorted([winner, *["ConflictError"] * 5])
    with ledger.read() as tx:
        assert tx.conversations.require(asked).answer == winner


def test_messages_wait_until_read(still):
    """A message to the user waits until it is read or answered."""
    user, agent = {"recipient_type": "user"}, {"recipient_type": "agent", "recipient_id": "yak"}
    with still.write() as tx:

        def sent(name, **fields):
            return tx.messages.create(id=name, content=name, sender_type="agent", sender_id="owl", **fields)

        sent("b", **user, requires_response=True)
        sent("a", **user)
        sent("c", **agent, type="question")
        assert ids(tx.messages.find_pending_for_user()) == ["a", "b"]
        sent("e", **agent, parent_message_id="b")
        sent("d", **agent, parent_message_id="b")
        sent("f", **agent, parent_message_id="d")
        assert ids(tx.messages.find_replies("b")) == ["d", "e"]
        assert tx.messages.require("b").status == "responded"
        assert ids(tx.messages.find_pending_for_user()) == ["a"]
        tx.messages.update("a", status="read")
        assert tx.messages.find_pending_for_user() == []
    with pytest.raises(ConflictError), still.write() as tx:
        tx.messages.create(content="?", sender_type="user", **user, parent_message_id="nothing")


def test_one_active_chat_per_target(still):
    """There is one chat at a time about a phase or task; closed, it stays so, and another one can begin."""
    about = {"target_type": ChatTarget.TASK, "target_id": "t"}
    with still.write() as tx:
        chat = tx.chat_sessions.create_session(**about, initiative_id="i")
        tx.chat_sessions.create_session(target_type=ChatTarget.PHASE, target_id="t", initiative_id="i")
        with pytest.raises(ConflictError), tx.session.begin_nested():
            tx.chat_sessions.create_session(**about, initiative_id="i")
        assert tx.chat_sessions.find_active_session(**about) == chat
        assert tx.chat_sessions.find_active_session(ChatTarget.TASK, "other") is None
        assert tx.chat_sessions.update_session(chat.id, agent_id="owl").agent_id == "owl"
        said = [
            tx.chat_sessions.create_message(chat_session_id=chat.id, role=role, content=role)
            for role in (ChatRole.USER, ChatRole.ASSISTANT)
        ]
        assert tx.chat_sessions.find_messages_by_session_id(chat.id) == sorted(said, key=lambda message: message.id)
        tx.chat_sessions.update_session(chat.id, status="closed")
        assert tx.chat_sessions.require(chat.id).status == "closed"
        assert tx.chat_sessions.find_active_session(**about) is None
        for change in (
            lambda: tx.chat_sessions.update_session(chat.id, status="active"),
            lambda: tx.chat_sessions.update(chat.id, agent_id=None),
            lambda: tx.chat_sessions.create_message(chat_session_id=chat.id, role=ChatRole.USER, content="more"),
        ):
            with pytest.raises(ConflictError, match="is closed"):
                change()
        assert len(tx.chat_sessions.find_messages_by_session_id(chat.id)) == 2
        with pytest.raises(NotFoundError, match="chat session"):
            tx.chat_sessions.create_message(chat_session_id="nothing", role=ChatRole.USER, content="?")
        assert tx.chat_sessions.create_session(**about, initiative_id="i").id != chat.id
