"""
Repositories of initiatives, phases, tasks and projects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from tasks_lib.errors import ConflictError
from tasks_lib.ledger.repositories import graph
from tasks_lib.ledger.repositories.base import Repository, refused
from tasks_lib.ledger.schema.work import Initiative, InitiativeProject, Phase, Project, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

Waiting = TypeVar("Waiting", Phase, Task)


class InitiativeRepository(Repository[Initiative]):
    """The initiatives."""

    row, noun = Initiative, "initiative"


class _WaitingRepository(Repository[Waiting]):
    """
    Rows that can wait for other rows of the same table.

    Attributes:
        edges: The table of dependencies.
    """

    edges: graph.Edges

    def create_dependency(self, id: str, depends_on_id: str) -> None:
        """
        Make a row wait for another row of its initiative; a second call changes nothing.

        Tasks can wait for tasks of other phases, but not of other initiatives: neither could be finished alone.

        Raises:
            NotFoundError: If one of the rows does not exist.
            ConflictError: If they are the same, or belong to two initiatives.
            CycleError: If the dependency would close a cycle.
        """
        if self.require(id).initiative_id != self.require(depends_on_id).initiative_id:
            raise ConflictError(
                f"{self.noun} `{id}` cannot wait for `{depends_on_id}`", why="they belong to two initiatives"
            )
        self.edges.add(self.session, id, depends_on_id)

    def get_dependencies(self, id: str) -> list[str]:
        """Return the ids of the rows that this one waits for."""
        return self.edges.blockers(self.session, id)

    def get_dependents(self, id: str) -> list[str]:
        """Return the ids of the rows that wait for this one."""
        return self.edges.waiting(self.session, id)


class PhaseRepository(_WaitingRepository[Phase]):
    """The phases of initiatives, and their dependencies."""

    row, noun, edges = Phase, "phase", graph.PHASES

    def find_by_initiative_id(self, initiative_id: str) -> list[Phase]:
        """Return an initiative's phases, the oldest first."""
        return self.find_all(initiative_id=initiative_id)


class TaskRepository(_WaitingRepository[Task]):
    """The tasks, and which waits for which; `dispatch` hands them out."""

    row, noun, edges = Task, "task", graph.TASKS

    def create(self, **values: Any) -> Task:
        """
        Make a task; its initiative is that of its phase, or of the task it is a part of.

        Raises:
            ConflictError: If phase, parent and initiative do not belong together.
        """
        return super().create(**{**values, "initiative_id": self._initiative(values)})

    def update(self, id: str, **values: Any) -> Task:
        """
        Change a task.

        Raises:
            ConflictError: If it would leave its initiative, or become a part of itself.
        """
        if values.keys() & {"initiative_id", "phase_id", "parent_task_id"}:
            task = self.hold(id)
            self._refuse_cycle(id, values.get("parent_task_id"), "parent_task_id")
            place = {field: getattr(task, field) for field in ("initiative_id", "phase_id", "parent_task_id")}
            if self._initiative(place | values) != task.initiative_id:
                raise ConflictError(f"task `{id}` stays in its initiative", why="its dependencies and parts are there")
            values["initiative_id"] = task.initiative_id
        return super().update(id, **values)

    def _initiative(self, values: dict[str, Any]) -> str | None:
        """Return the initiative of a task with *values*: its own, its parent's or its phase's."""
        found = {values.get("initiative_id")}
        if values.get("parent_task_id"):
            found.add(self.require(values["parent_task_id"]).initiative_id)
        if values.get("phase_id"):
            found.add(PhaseRepository(self.session, self.clock).require(values["phase_id"]).initiative_id)
        found.discard(None)
        if len(found) > 1:
            raise ConflictError("a task belongs to the initiative of its phase and of its parent task")
        return next(iter(found), None)

    def find_by_parent_task_id(self, parent_task_id: str) -> list[Task]:
        """Return the parts of a task, in their order."""
        return self.find_all(parent_task_id=parent_task_id)

    def find_by_phase_id(self, phase_id: str) -> list[Task]:
        """Return a phase's tasks, in their order."""
        return self.find_all(phase_id=phase_id)

    def _order(self) -> tuple[Any, ...]:
        return Task.order, Task.created_at, Task.id


@dataclass(frozen=True)
class Changed:
    """The ids of the projects that were added to and removed from an initiative."""

    added: list[str]
    removed: list[str]


class ProjectRepository(Repository[Project]):
    """The git repositories that initiatives work on."""

    row, noun, listing = Project, "project", "inv initiative.projects"

    def set_initiative_projects(self, initiative_id: str, project_ids: Iterable[str]) -> Changed:
        """
        Make *project_ids* the projects of an initiative; rows of projects that stay are not touched.

        Raises:
            ConflictError: If one of the projects does not exist; nothing is changed then.
        """
        mine = InitiativeProject.initiative_id == initiative_id
        before = set(self.session.scalars(sa.select(InitiativeProject.project_id).where(mine)))
        after = set(project_ids)
        added, removed = sorted(after - before), sorted(before - after)
        moment = self.clock()
        rows = [{"initiative_id": initiative_id, "project_id": project, "created_at": moment} for project in added]
        try:
            with self.session.begin_nested():
                if rows:
                    self.session.execute(sa.insert(InitiativeProject), rows)
                self.session.execute(
                    sa.delete(InitiativeProject).where(mine, InitiativeProject.project_id.in_(removed))
                )
        except sa.exc.IntegrityError as error:
            raise refused(error, "set of projects") from None
        return Changed(added, removed)

    def find_projects_by_initiative_id(self, initiative_id: str) -> list[Project]:
        """Return the projects of an initiative, by name."""
        joined = sa.select(Project).join(InitiativeProject, InitiativeProject.project_id == Project.id)
        return self._all(joined.where(InitiativeProject.initiative_id == initiative_id).order_by(Project.name))
