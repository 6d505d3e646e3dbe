"""
What every removal has: the note, the plans, and the steps for databases and record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.errors import ServerError
from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.steps import portless

if TYPE_CHECKING:
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project

FINISHES = "run the same command again: it finishes what is left"


@dataclass
class RemovalOutcome:
    """
    A removal: what it takes away, and how far it got.

    Attributes:
        note: What is taken away.
        plans: Until the worktree is gone a failure undoes everything; after that everything goes forward.
        parked: The databases that were parked, under the names that they have now.
        pending: Whether they still have to be, as the server could not be reached.
    """

    note: removal_record.RemovalRecord
    plans: list[Plan] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    pending: bool = False

    def preview(self) -> list[str]:
        """Return what would be done, a line for each step."""
        return [line for plan in self.plans for line in plan.preview()]

    def run(self, narrator: Narrator) -> None:
        """
        Take away what the note says.

        Raises:
            GoldentreeError: As a step raised it.
        """
        for plan in self.plans:
            plan.run(narrator)


def write_step(
    project: Project, removing: RemovalOutcome, cut_short: removal_record.RemovalRecord | None = None
) -> Step:
    """
    Return the step that writes the removal down.

    Args:
        cut_short: The note of a call that was killed before it took the worktree away; this one replaces it.
    """
    registry, note = project.registry, removing.note

    def do() -> None:
        removal_record.write(project, note)
        if note.record is not None:
            registry.update(note.slug, state="removing")

    def undo() -> None:
        if cut_short is not None:
            removal_record.write(project, cut_short)
        elif not note.trash.exists():  # else its files could not be put back, and the next call goes on
            if note.record is not None:
                registry.save(note.record)
            removal_record.delete(project, note)

    return Step("note down what is removed", do, undo)


def park_step(project: Project, removing: RemovalOutcome, narrator: Narrator) -> list[Step]:
    """Return the step that parks the databases; none where there is no record of any."""
    note, record = removing.note, removing.note.record
    if record is None:
        return []

    def park() -> str:
        from tasks_lib.databases.clone.park import park

        try:
            parked = park(
                project.server,
                repository=project.registry.repository_id,
                slug=note.slug,
                now=note.removed,
                report=narrator.detail,
            )
        except ServerError as error:
            narrator.say(f"{error}\nits record stays; `inv worktree.gc --yes` finishes when the server is back")
            removing.pending = True
            return "not yet"
        removing.parked = [one.name for one in parked]
        if record.clone and not parked:
            narrator.say(
                f"warning: no database is parked: `{record.identity.database}` is gone, or not provably ours\n"
                f"  the server is {project.server.url}; it was made on {record.server}"
            )
        return f"as {', '.join(removing.parked)}" if parked else "there is none"

    return [Step(f"park {record.identity.database}", park)]


def finish_step(project: Project, removing: RemovalOutcome) -> list[Step]:
    """Return the step that ends what belongs to the record, and deletes it; none where there is no record."""
    record = removing.note.record
    if record is None:
        return []

    def finish() -> None:
        portless.forget(record)
        if not removing.pending:
            project.registry.delete(record.slug)

    return [Step(f"free port {record.port}", finish)]
