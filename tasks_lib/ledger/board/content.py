"""
Read the contents of the board in one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from tasks_lib.ledger.agents.liveness import is_lost
from tasks_lib.ledger.schema.agents import GONE, HOLDING, Agent, AgentStatus
from tasks_lib.ledger.schema.errands import ErrandStatus
from tasks_lib.ledger.schema.talk import ConversationStatus, MessageStatus, Party
from tasks_lib.ledger.schema.work import PLANNING, InitiativeStatus, PhaseDependency, TaskDependency, TaskStatus
from tasks_lib.ledger.work import queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.errands import Errand
    from tasks_lib.ledger.schema.talk import Conversation, Message
    from tasks_lib.ledger.schema.work import Initiative, Phase, Task

_Row = TypeVar("_Row", "Task", "Phase")

FINAL = (ErrandStatus.MERGED, ErrandStatus.ABANDONED)
"""The statuses of finished errands."""


@dataclass(frozen=True)
class Place:
    """A worktree where agents work; the path is empty once the worktree is gone."""

    branch: str
    path: str
    database: str


@dataclass(frozen=True)
class Work:
    """
    An initiative with its phases and tasks; without an initiative, the tasks that have none.

    Attributes:
        waits: For each phase or task, the ids of those that it waits for.
    """

    initiative: Initiative | None
    phases: Sequence[Phase]
    tasks: Sequence[Task]
    waits: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Board:
    """
    The ledger at one moment.

    Attributes:
        taken: The time when it was read.
        where: The ledger's file, or its URL without a password.
        counts: The number of tasks in each state, from `queue_state`.
        states: The state of each task, by id.
        holders: The agents that hold tasks, by the task's id.
        agents: All agents, by id.
        lost: The ids of agents whose process has died without a change of status.
        places: This repository's worktrees, by worktree id.
        questions: The open questions.
        messages: The messages that the user has not read, or has not answered although a reply is wanted.
    """

    taken: datetime
    where: str
    counts: Mapping[str, int]
    states: Mapping[str, str]
    works: Sequence[Work]
    holders: Mapping[str, Agent]
    agents: Mapping[str, Agent]
    lost: frozenset[str]
    places: Mapping[str, Place]
    questions: Sequence[Conversation]
    messages: Sequence[Message]
    errands: Sequence[Errand]

    @property
    def active_agents(self) -> list[Agent]:
        """The agents that are not stopped."""
        return [agent for agent in self.agents.values() if agent.status is not AgentStatus.STOPPED]

    @property
    def open_errands(self) -> list[Errand]:
        """The errands that are not finished."""
        return [errand for errand in self.errands if errand.status not in FINAL]


def read(tx: Transaction, where: str, places: Mapping[str, Place]) -> Board:
    """Return the contents of the board of the ledger *where*, with the worktrees in *places*."""
    agents = {agent.id: agent for agent in tx.agents.find_all()}
    ready = {task.id for task in queue.ready(tx)}
    tasks, phases = _by_initiative(tx.tasks.find_all()), _by_initiative(tx.phases.find_all())
    waits = defaultdict[str, list[str]](list)
    for edges in (TaskDependency.__table__, PhaseDependency.__table__):
        for node, blocker in tx.session.execute(sa.select(*edges.c).order_by(*edges.c)):
            waits[node].append(blocker)
    # Active initiatives come before finished ones.
    initiatives = sorted(tx.initiatives.find_all(), key=lambda initiative: [*InitiativeStatus].index(initiative.status))
    works = [Work(goal, phases[goal.id], tasks[goal.id], waits) for goal in initiatives]
    if tasks[None]:
        works.append(Work(None, (), tasks[None], waits))
    return Board(
        taken=tx.clock(),
        where=where,
        counts=queue.queue_state(tx),
        states={task.id: _state(task, ready) for work in works for task in work.tasks},
        works=works,
        holders={agent.task_id: agent for agent in agents.values() if agent.task_id and agent.status in HOLDING},
        agents=agents,
        lost=frozenset(agent.id for agent in agents.values() if agent.status not in GONE and is_lost(agent)),
        places=places,
        questions=tx.conversations.find_all(status=ConversationStatus.PENDING),
        messages=[message for message in tx.messages.find_all(recipient_type=Party.USER) if _is_open(message)],
        errands=tx.errands.find_all(),
    )


def _by_initiative(rows: Iterable[_Row]) -> Mapping[str | None, list[_Row]]:
    found = defaultdict[str | None, list[_Row]](list)
    for row in rows:
        found[row.initiative_id].append(row)
    return found


def _state(task: Task, ready: set[str]) -> str:
    """Return the state of a task, one of the keys of `queue_state`."""
    if task.status is not TaskStatus.PENDING:
        return task.status
    if task.id in ready:
        return "ready"
    return "planning" if task.category in PLANNING else "waiting"


def _is_open(message: Message) -> bool:
    asks = message.requires_response and message.status is not MessageStatus.RESPONDED
    return asks or message.status is MessageStatus.PENDING
