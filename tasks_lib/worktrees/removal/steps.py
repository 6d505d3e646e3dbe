"""
The steps that `worktree.remove` and `worktree.teardown` share: write the removal record, park the databases, finish.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.errors import OwnershipError, ServerError
from tasks_lib.plan import Step
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.removal.unseen_files import UnseenFiles
from tasks_lib.worktrees.steps.portless import remove_route

if TYPE_CHECKING:
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.removal.removal_record import RemovalRecord

RERUN = "run the same command again to finish the removal"
"""What a user reads who interrupts a removal after the worktree is gone."""


@dataclass
class Removal:
    """
    A removal and its result so far.

    Attributes:
        record: What is removed. The step that saves uncommitted work adds its commit.
        parked: The names that the databases were parked under.
        pending: Whether they are not parked yet, because the server could not be reached.
        unseen: The ignored files and hidden edits that were kept, and those that were deleted for good.
    """

    record: RemovalRecord
    parked: list[str] = field(default_factory=list)
    pending: bool = False
    unseen: UnseenFiles = field(default_factory=UnseenFiles)


def write_step(project: Project, removal: Removal, interrupted: RemovalRecord | None = None) -> Step:
    """
    Return the step that writes the removal record.

    Args:
        interrupted: The record of a run that was killed before it removed the worktree. This one replaces it.
    """
    registry, record = project.registry, removal.record

    def do() -> None:
        removal_record.write(project, record)
        if record.worktree is not None:
            registry.update(record.slug, state="removing")

    def undo() -> None:
        if interrupted is not None:
            removal_record.write(project, interrupted)
        # If the files could not be moved back, keep the record: the next run finishes the removal.
        elif not record.trash.exists():
            if record.worktree is not None:
                registry.save(record.worktree)
            removal_record.delete(project, record)

    return Step("record what is removed", do, undo)


def require_parkable(project: Project, worktree: Record | None, *, force: bool = False) -> None:
    """
    Check, before anything is removed, that every database that may be the worktree's can be parked.

    Args:
        force: Whether its databases may be on another server, where they stay.

    Raises:
        OwnershipError: If one is not provably the worktree's, or if they are on another server.
    """
    from tasks_lib.databases.clone.park import has_active_database, require_proven

    if worktree is None:
        return
    owner, here = project.owner(worktree.slug), project.server.url.masked
    with suppress(ServerError):  # the databases are parked later
        require_proven(project.server, owner)
        if worktree.clone and here != worktree.server and not force and not has_active_database(project.server, owner):
            raise OwnershipError(
                f"the database `{worktree.identity.database}` is not on {here}",
                why=f"it was created on {worktree.server}, and would stay there without a worktree",
                hint="set DATABASE_URL or GOLDENTREE_HOME as it was then, or pass --force if that server is gone",
            )


def park_steps(project: Project, removal: Removal, narrator: Narrator) -> list[Step]:
    """Return the step that parks the databases, none for a worktree without a record."""
    worktree = removal.record.worktree
    if worktree is None:
        return []
    slug, removed_at = removal.record.slug, removal.record.removed_at

    def do() -> str:
        from tasks_lib.databases.clone.park import park

        try:
            parked = park(
                project.server,
                project.owner(slug),
                removed_at=removed_at,
                report=narrator.detail,
            )
        except ServerError as error:
            narrator.say(f"{error}\nits record stays; `inv worktree.gc --yes` parks them when the server is back")
            removal.pending = True
            return "not yet"
        removal.parked = [database.name for database in parked]
        if worktree.clone and not parked:
            narrator.say(
                f"warning: no database was parked: `{worktree.identity.database}` does not exist, "
                f"or is not provably this worktree's\n"
                f"  looked on {project.server.url}; it was created on {worktree.server}"
            )
        return f"as {', '.join(removal.parked)}" if parked else "no database found"

    return [Step(f"park {worktree.identity.database}", do)]


def finish_steps(project: Project, removal: Removal) -> list[Step]:
    """Return the step that frees the port and deletes the worktree's record, none for a worktree without one."""
    worktree = removal.record.worktree
    if worktree is None:
        return []

    def do() -> None:
        remove_route(worktree)
        # `worktree.gc` needs the record to park them later.
        if not removal.pending:
            project.registry.delete(worktree.slug)

    return [Step(f"free port {', '.join(map(str, sorted(worktree.all_ports)))}", do)]
