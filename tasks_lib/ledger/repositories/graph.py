"""
The dependencies between tasks and between phases, which never form a cycle.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tasks_lib.errors import ConflictError, CycleError
from tasks_lib.ledger.schema.work import PhaseDependency, TaskDependency
from tasks_lib.ledger.store.dialect import insert, is_postgres

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_LOCK = 0x676F6C64  # "gold"
"""PostgreSQL's lock for the cycle check: two concurrent transactions could close a cycle together."""


@dataclass(frozen=True)
class Edges:
    """
    A table of dependencies.

    Attributes:
        node: The column of the rows that wait.
        blocker: The column of the rows that they wait for.
    """

    noun: str
    node: sa.Column[str]
    blocker: sa.Column[str]

    def blockers(self, session: Session, node: str) -> list[str]:
        """Return the ids that *node* waits for."""
        return list(session.scalars(sa.select(self.blocker).where(self.node == node).order_by(self.blocker)))

    def waiting(self, session: Session, blocker: str) -> list[str]:
        """Return the ids that wait for *blocker*."""
        return list(session.scalars(sa.select(self.node).where(self.blocker == blocker).order_by(self.node)))

    def all(self, session: Session) -> dict[str, list[str]]:
        """Return the ids that each waiting row waits for."""
        blockers = defaultdict(list)
        for node, blocker in session.execute(sa.select(self.node, self.blocker).order_by(self.blocker)):
            blockers[node].append(blocker)
        return blockers

    def add(self, session: Session, node: str, blocker: str) -> None:
        """
        Make *node* wait for *blocker*; does nothing if it already does.

        Raises:
            ConflictError: If they are the same.
            CycleError: If *blocker* waits for *node*, directly or indirectly.
        """
        if node == blocker:
            raise ConflictError(f"{self.noun} `{node}` cannot wait for itself")
        if is_postgres(session):
            session.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        if self._reaches(session, blocker, node):
            path = [node, *self._path(session, blocker, node)]
            raise CycleError(
                f"{self.noun} `{node}` cannot wait for `{blocker}`",
                path=path,
                why=f"that closes a cycle: {' -> '.join(path)}",
            )
        edge = insert(session, self.node.table).values({self.node: node, self.blocker: blocker})
        session.execute(edge.on_conflict_do_nothing())

    def _reaches(self, session: Session, start: str, goal: str) -> bool:
        # UNION drops rows seen before; with UNION ALL the work doubles with every layer of the graph.
        reached = sa.select(sa.literal(start).label("id")).cte("reached", recursive=True)
        reached = reached.union(sa.select(self.blocker).join(reached, self.node == reached.c.id))
        return session.scalar(sa.select(sa.exists().where(reached.c.id == goal))) or False

    def _path(self, session: Session, start: str, goal: str) -> list[str]:
        """Return the shortest path from *start* to *goal*, which must exist."""
        blockers = self.all(session)  # one query, and only for an error
        came_from: dict[str, str | None] = {start: None}
        ahead = deque([start])
        while goal not in came_from:
            node = ahead.popleft()
            for blocker in blockers.get(node, []):
                if blocker not in came_from:
                    came_from[blocker] = node
                    ahead.append(blocker)
        path, step = [goal], came_from[goal]
        while step is not None:
            path.append(step)
            step = came_from[step]
        return path[::-1]


def _columns(table: Any, noun: str, node: str, blocker: str) -> Edges:
    return Edges(noun, table.__table__.c[node], table.__table__.c[blocker])


TASKS = _columns(TaskDependency, "task", "task_id", "depends_on_task_id")
PHASES = _columns(PhaseDependency, "phase", "phase_id", "depends_on_phase_id")
