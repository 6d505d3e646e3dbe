"""
Ask other agents, wait for their answers, and listen for questions.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from tasks_lib.errors import ConflictError, LedgerError, NoTargetError, TimedOutError
from tasks_lib.ledger import wakeup
from tasks_lib.ledger.agents.liveness import describe_status, is_lost
from tasks_lib.ledger.schema.agents import GONE, Agent, AgentStatus
from tasks_lib.ledger.schema.talk import Conversation, ConversationStatus
from tasks_lib.ledger.schema.work import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.ledger.ledger import Ledger, Transaction

Found = TypeVar("Found")

LOOK_SECONDS = 5.0
"""How often a wait checks that the agent asked is alive; a process that dies writes nothing to the ledger."""


def target(
    tx: Transaction,
    asker_id: str,
    *,
    agent_id: str | None = None,
    task_id: str | None = None,
    phase_id: str | None = None,
) -> Agent:
    """
    Return the agent that a question goes to: the one named, or the one that works on the task or phase, or did last.

    Running agents come before idle ones and ones that wait for input, then the agents active last. Never returns
    the asker, nor an agent that is stopped, crashed or lost, which would not answer.

    Raises:
        NotFoundError: If the agent, task or phase does not exist.
        NoTargetError: If no agent can answer; the error lists the agents that can.
        LedgerError: Unless exactly one of the three is given.
    """
    given = [id for id in (agent_id, task_id, phase_id) if id is not None]  # noqa: A001 - what it is
    if len(given) != 1:
        raise LedgerError("pass exactly one of agent, task and phase", why=f"{len(given)} were passed")
    candidates = sa.select(Agent).where(Agent.id != asker_id)
    if agent_id is not None:
        whose = f"agent `{tx.agents.require(agent_id).name}`"
        candidates = candidates.where(Agent.id == agent_id)
    elif task_id is not None:
        whose = f"task `{tx.tasks.require(task_id).name}`"
        candidates = candidates.where(Agent.task_id == task_id)
    else:
        whose = f"phase `{tx.phases.require(str(phase_id)).name}`"
        candidates = candidates.join(Task, Task.id == Agent.task_id).where(Task.phase_id == phase_id)
    order = sa.case((Agent.status == AgentStatus.RUNNING, 0), else_=1), Agent.updated_at.desc(), Agent.id
    asked = list(tx.session.scalars(candidates.order_by(*order)))
    found = next((agent for agent in asked if agent.status not in GONE and not is_lost(agent)), None)
    if found is None:
        others = [agent for agent in tx.agents.find_all() if agent.id != asker_id and agent.status not in GONE]
        named = dict.fromkeys(f"{agent.name} is {describe_status(agent)}" for agent in [*asked, *others])
        raise NoTargetError(
            f"no agent can answer for {whose}",
            why="; ".join(named) or "no other agent is registered",
            hint="inv agent.list",
        )
    return found


def ask(
    tx: Transaction,
    asker_id: str,
    question: str,
    *,
    agent_id: str | None = None,
    task_id: str | None = None,
    phase_id: str | None = None,
) -> Conversation:
    """
    Ask a question. Call `wait` for the answer after the transaction.

    Raises:
        LedgerError: If *question* is empty.
        NotFoundError, NoTargetError: As `target`.
    """
    if not question.strip():
        raise LedgerError("the question is empty")
    asker = tx.agents.require(asker_id)
    answerer = target(tx, asker_id, agent_id=agent_id, task_id=task_id, phase_id=phase_id)
    about = tx.tasks.require(task_id) if task_id else tx.phases.require(phase_id) if phase_id else asker
    wakeup.announce(tx)
    return tx.conversations.create(
        from_agent_id=asker_id,
        to_agent_id=answerer.id,
        initiative_id=about.initiative_id,
        phase_id=phase_id or (about.phase_id if isinstance(about, Task) else None),
        task_id=task_id,
        question=question,
    )


def answer(tx: Transaction, conversation_id: str, text: str) -> Conversation:
    """
    Answer a question, once.

    Raises:
        LedgerError, NotFoundError, ConflictError: As `ConversationRepository.answer`.
    """
    wakeup.announce(tx)
    return tx.conversations.answer(conversation_id, text)


def wait(ledger: Ledger, conversation_id: str, timeout: float | None = None) -> Conversation:
    """
    Return a question once it is answered.

    Args:
        timeout: In seconds, None to wait without limit.

    Raises:
        TimedOutError: If no answer came in time; the question stays.
        NoTargetError: If the agent asked is stopped, crashed or lost; the question stays.
        NotFoundError: If the question does not exist; it is deleted with either of its agents.
        LedgerError: If the connection to the ledger is lost.
    """

    def answered(tx: Transaction) -> Conversation | None:
        conversation = tx.conversations.require(conversation_id)
        if conversation.status is ConversationStatus.ANSWERED:
            return conversation
        answerer = tx.agents.require(conversation.to_agent_id)
        if answerer.status in GONE or is_lost(answerer):
            raise NoTargetError(
                f"agent `{answerer.name}` is {describe_status(answerer)} and has not answered",
                why="the question stays until it is back",
                hint=f"ask another agent (inv agent.list), or keep waiting\ninv agent.wait {conversation.id}",
            )
        return None

    found = _until(ledger, answered, timeout)
    if found is None:
        raise TimedOutError(
            f"no answer within {timeout:g} s", why="the question stays", hint=f"inv agent.wait {conversation_id}"
        )
    return found


def listen(ledger: Ledger, agent_id: str, timeout: float | None = None) -> list[Conversation]:
    """
    Return the questions to an agent as soon as there is at least one.

    Args:
        timeout: In seconds, None to wait without limit.

    Raises:
        TimedOutError: If no question came in time.
        NotFoundError: If the agent does not exist, or is deleted.
        ConflictError: If it is stopped or crashed.
        LedgerError: If the connection to the ledger is lost.
    """

    def asked(tx: Transaction) -> list[Conversation]:
        agent = tx.agents.require(agent_id)
        if agent.status in GONE:
            raise ConflictError(
                f"agent `{agent.name}` is {agent.status}",
                why="it receives no questions",
                hint=f"inv agent.register {agent.name}",
            )
        return tx.conversations.find_pending_for_agent(agent_id)

    found = _until(ledger, asked, timeout)
    if not found:
        raise TimedOutError(f"no question within {timeout:g} s")
    return found


def _until(ledger: Ledger, look: Callable[[Transaction], Found], timeout: float | None) -> Found | None:
    """Return what *look* finds as soon as it finds something; None after *timeout* seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with wakeup.changes(ledger.engine) as changed:
        while True:
            with ledger.read() as tx:
                if found := look(tx):
                    return found
            left = LOOK_SECONDS if deadline is None else min(LOOK_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return None
            changed(left)
