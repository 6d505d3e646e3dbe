"""
What the board shows, read in one transaction.
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
"""The states of errands that nobody has to do with any more."""


@dataclass(frozen=True)
class Place:
    """Where an agent works; the path is empty once the worktree is gone."""

    branch: str
    path: str
    database: str


@dataclass(frozen=True)
class Work:
    """
    An initiative with what belongs to it; or, without one, the tasks of none.

    Attributes:
        waits: For a phase or task the ids of those that it waits for.
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
        taken: That moment.
        where: What the ledger is on, for people.
        counts: How many tasks are in each state, as `queue_state` has it.
        states: Of each task, one of these states.
        holders: The agent of each task in progress that is held, by the task's id.
        agents: All of them, by id.
        lost: The ids of those whose process has died unnoticed.
        places: Where agents work, by their worktree's id; without those of other repositories.
        questions: Those that nobody has answered.
        messages: What the user has not read, or not answered where that is asked for.
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
    def at_work(self) -> list[Agent]:
        """The agents that are not stopped."""
        return [agent for agent in self.agents.values() if agent.status is not AgentStatus.STOPPED]

    @property
    def open_errands(self) -> list[Errand]:
        """The errands that somebody has to do with."""
        return [errand for errand in self.errands if errand.status not in FINAL]


def read(tx: Transaction, where: str, places: Mapping[str, Place]) -> Board:
    """Return what the board of the ledger *where* shows; *places* tells of worktrees, of which the ledger knows ids."""
    agents = {agent.id: agent for agent in tx.agents.find_all()}
    ready = {task.id for task in queue.ready(tx)}
    tasks, phases = _by_initiative(tx.tasks.find_all()), _by_initiative(tx.phases.find_all())
    waits = defaultdict[str, list[str]](list)
    for edges in (TaskDependency.__table__, PhaseDependency.__table__):
        for node, blocker in tx.session.execute(sa.select(*edges.c).order_by(*edges.c)):
            waits[node].append(blocker)
    # Work that goes on comes before what is over.
    initiatives = sorted(tx.initiatives.find_all(), key=lambda one: [*InitiativeStatus].index(one.status))
    works = [Work(one, phases[one.id], tasks[one.id], waits) for one in initiatives]
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
        messages=[one for one in tx.messages.find_all(recipient_type=Party.USER) if _is_open(one)],
        errands=tx.errands.find_all(),
    )


def _by_initiative(rows: Iterable[_Row]) -> Mapping[str | None, list[_Row]]:
    found = defaultdict[str | None, list[_Row]](list)
    for row in rows:
        found[row.initiative_id].append(row)
    return found


def _state(task: Task, ready: set[str]) -> str:
    """Return the state of a task in the words of `queue_state`."""
    if task.status is not TaskStatus.PENDING:
        return task.status
    if task.id in ready:
        return "ready"
    return "planning" if task.category in PLANNING else "waiting"


def _is_open(message: Message) -> bool:
    asks = message.requires_response and message.status is not MessageStatus.RESPONDED
    return asks or message.status is MessageStatus.PENDING
