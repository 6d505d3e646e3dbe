"""
Garbage collection: forwards, from what is alive to what nothing owns any more.

Alive is what git lists, what directories are there and what the registry holds; if any of these
cannot be read, nothing is collected, as an empty list of what is alive reads exactly like
"everything is garbage". A worktree that was deleted by hand is removed like any other: its databases
are parked, so that `worktree.undo` can bring it back. Only what was parked long ago is dropped.
"""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError, RegistryError, WorktreeError
from tasks_lib.git.repository import list_worktrees
from tasks_lib.output import age, connected
from tasks_lib.worktrees.plans.remove import plan_remove
from tasks_lib.worktrees.removal import removal_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.databases.ownership import leftovers
    from tasks_lib.git.repository import WorktreeEntry
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Row:
    """
    Something that nothing owns.

    Attributes:
        kind: `worktree`, `files`, `note`, or the role that a database has.
        bytes: On disk; None where that is not known or hardly anything.
        reason: Why it is here, and why it stays where *collect* is None.
        collect: Takes it away and says what became of it; proves once more that nothing owns it.
    """

    kind: str
    name: str
    bytes: int | None
    reason: str
    collect: Callable[[], str] | None


@dataclass(frozen=True)
class Collected:
    """A row and what became of it: `dropped`, `parked`, `deleted`, `forgotten`, `pending`, or `kept` with *why*."""

    row: Row
    outcome: str
    why: str = ""


def examine(project: Project, narrator: Narrator) -> list[Row]:
    """
    Return what nothing owns, and what looks so but stays.

    Raises:
        GoldentreeError: If git, the registry or the server cannot be read.
    """
    listed = {row.path: row for row in list_worktrees(project.repository.main)}
    paths, records = project.registry.paths(), project.registry.records()
    now = datetime.now(UTC)
    rows = [
        row
        for record in records
        for row in [_record(project, record, paths.get(record.slug), listed, narrator)]
        if row is not None
    ]
    for note in removal_record.list_removals(project):
        rows += _note(project, note, now)
    return rows + _databases(project, records)


def collect(rows: list[Row], narrator: Narrator) -> list[Collected]:
    """Take away what may go, and return what became of every row; one that cannot go does not stop the others."""
    collected = []
    for row in rows:
        if row.collect is None:
            collected.append(Collected(row, "kept", row.reason))
            continue
        try:
            with narrator.step(f"collect {row.kind} {row.name}"):
                collected.append(Collected(row, row.collect()))
        except GoldentreeError as error:
            collected.append(Collected(row, "kept", ": ".join(filter(None, [error.what, error.why]))))
    return collected


def _record(
    project: Project, record: Record, there: Path | None, listed: dict[Path, WorktreeEntry], narrator: Narrator
) -> Row | None:
    """Return the row of a record whose worktree is not there; None for one that is alive."""
    path = there or Path(record.path)
    if there is not None and there.exists():
        return None
    try:
        with project.registry.working_on(record.slug):
            pass
    except RegistryError as error:
        return Row("worktree", record.identity.branch, None, error.what, None)
    entry = listed.get(path)
    if entry is not None and entry.locked is not None:
        return Row("worktree", record.identity.branch, None, "it is locked, perhaps on a volume that is away", None)
    if not path.parent.is_dir() or not any(path.parent.iterdir()):
        reason = f"`{path.parent}` is empty or gone: a volume that is not mounted? inv worktree.remove {record.slug}"
        return Row("worktree", record.identity.branch, None, reason, None)
    reason = {
        "removing": "its removal was cut short",
        "creating": "its making was cut short",
        "ready": f"its directory {path} was deleted",
    }[record.state]

    def finish() -> str:
        with plan_remove(project, record.slug, narrator, keep_branch=record.state != "removing") as planned:
            if planned.subject.record.slug != record.slug:
                raise RegistryError(f"a branch is called `{record.slug}` like the slug", hint="rename it")
            planned.run(narrator)
        return "pending" if planned.subject.pending else "parked"

    return Row("worktree", record.identity.branch, None, reason, finish)


def _note(project: Project, note: removal_record.RemovalRecord, now: datetime) -> list[Row]:
    """Return the row of a removal that can be undone no longer, or whose files were not all deleted."""
    since = now - datetime.fromisoformat(note.removed)
    record = project.registry.find(note.slug)
    if record is not None and record.state == "removing":
        return []  # its record has a row

    def delete_files() -> str:
        with project.registry.working_on(note.slug):
            shutil.rmtree(note.trash, ignore_errors=True)
        if note.trash.exists():
            raise WorktreeError("some of them cannot be deleted", why="look whose they are, and at their attributes")
        return "deleted"

    def forget() -> str:
        with project.registry.working_on(note.slug):
            removal_record.delete(project, note)
        return "forgotten"

    name = note.branch or note.path
    rows = []
    if note.trash.exists():
        rows.append(Row("files", str(note.trash), None, f"left of the worktree of {name}", delete_files))
    if since > project.settings.keep_removed:
        rows.append(Row("note", name, None, f"removed {age(since.total_seconds())} ago", forget))
    return rows


def _databases(project: Project, records: list[Record]) -> list[Row]:
    from tasks_lib.databases.ownership import leftovers

    templates = {one.template for one in project.settings.companions if one.template}
    templates |= {record.golden for record in records}
    found = leftovers.find_leftovers(
        project.source(),
        live={record.slug for record in records},
        templates=templates,
        keep=project.settings.keep_removed,
        now=datetime.now(UTC),
    )

    def row(one: leftovers.Leftover) -> Row:
        if one.sessions:
            return Row(one.kind, one.name, one.bytes, f"{one.reason}, but {connected(one.sessions)}", None)
        return Row(one.kind, one.name, one.bytes, one.reason, lambda: _drop(project, one))

    return [row(one) for one in found]


def _drop(project: Project, leftover: leftovers.Leftover) -> str:
    from tasks_lib.databases.ownership import leftovers

    slug = leftover.mark.slug if leftover.mark else ""
    with project.registry.working_on(slug) if slug else nullcontext():
        if leftover.kind == "clone" and project.registry.find(slug) is not None:
            raise RegistryError(f"worktree `{slug}` has been made meanwhile")
        leftovers.drop_leftover(project.source(), leftover)
    return "dropped"
