"""
Undoing a removal: worktree, branch, uncommitted work and databases, as they were.

The note of the removal says what there was; a ref has kept the commits, and the databases are
parked. The port is leased anew, as somebody else may hold it by now. The note goes last, so a call
that was killed is finished by running it again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError, WorktreeError
from tasks_lib.git import branch_names, uncommitted
from tasks_lib.git.merge_detection import is_ancestor
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.steps import env_file, files, hooks, portless, worktree_record
from tasks_lib.worktrees.steps.checkout import UNFINISHED, Checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Undoing:
    """What is brought back, where, and the plan."""

    note: removal_record.RemovalRecord
    path: Path
    plan: Plan


@contextmanager
def plan_undo(project: Project, name: str, narrator: Narrator, *, path: str = "") -> Iterator[Undoing]:
    """
    Plan to bring back the worktree of *name*; hold its lock meanwhile.

    Args:
        name: Branch, slug, former path or a note's key; the removal of the newest note where it is empty.
        path: Where the worktree goes; by default where it was.

    Raises:
        WorktreeError, BranchError: If there is nothing to bring back, or something is in its place.
    """
    note = _chosen(project, name)
    with project.registry.working_on(note.slug):
        # Looked up again: whoever held the lock until now may have undone it.
        note = _chosen(project, note.key)
        there = project.registry.paths().get(_mark(note))
        chosen = Path(path or note.path).expanduser()
        # git lists worktrees by their real paths; what stands at the end, were it a dangling link, is in the way.
        target = there or Path(os.path.realpath(chosen.parent), chosen.name)
        record = project.registry.find(note.slug)
        if record is not None and record.state == "ready" and note.only_databases:
            steps = _swap(project, note, record, target, narrator)
        elif record is None or _is_back(note, record):
            steps = _return(project, note, target, narrator)
        else:
            raise WorktreeError(
                f"`{record.identity.branch}` has a worktree, at {there or record.path}",
                why=f"it was made after the one that was removed on {note.removed[:16]}",
                hint=f"inv worktree.remove {record.slug}, then: inv worktree.undo {note.key}",
            )
        yield Undoing(note, target, Plan([*steps, Step("forget the removal", lambda: _forget(project, note))]))


def _forget(project: Project, note: removal_record.RemovalRecord) -> None:
    shutil.rmtree(note.trash, ignore_errors=True)
    removal_record.delete(project, note)


def _mark(note: removal_record.RemovalRecord) -> str:
    """Return what the worktree that is brought back is marked with; another one may be at a plain one's path by now."""
    return note.slug if note.record else note.key


def _is_back(note: removal_record.RemovalRecord, record: Record) -> bool:
    """Whether *record* is that of the note: its removal, or its return, was cut short."""
    return note.record is not None and note.record.created == record.created


def _chosen(project: Project, name: str) -> removal_record.RemovalRecord:
    everything = removal_record.list_removals(project)
    for note in everything:
        branch = note.record.identity.branch if note.record else None
        if not name or name in (note.branch, branch, note.slug, note.key) or os.path.realpath(name) == note.path:
            return note
    known = ", ".join(dict.fromkeys(note.branch or note.path for note in everything)) or "none"
    raise WorktreeError(
        f"no removal of `{name}` is known" if name else "there is no removal to undo",
        why=f"removed, and not yet swept by worktree.gc: {known}",
    )


def _swap(
    project: Project, note: removal_record.RemovalRecord, record: Record, path: Path, narrator: Narrator
) -> list[Step]:
    """Return the steps that give a living worktree back the databases that it had before a reset or a teardown."""
    aside = removal_record.RemovalRecord(
        note.slug, removal_record.timestamp(), str(path), note.branch, None, None, record, only_databases=True
    )

    def write() -> None:
        removal_record.write(project, aside)

    return [
        Step("note down what is there now", write, undo=lambda: removal_record.delete(project, aside)),
        *_restore_steps(note, path),
        _unpark_step(project, note, narrator, now=aside.removed, aside=aside),
    ]


def _restore_steps(note: removal_record.RemovalRecord, path: Path) -> list[Step]:
    if note.saved in (None, note.tip):
        return []
    commit = str(note.saved)
    return [
        Step(
            "restore its uncommitted work",
            lambda: uncommitted.restore(path, commit),
            done=lambda: path.exists() and uncommitted.holds(path, commit),
        )
    ]


def _return(project: Project, note: removal_record.RemovalRecord, path: Path, narrator: Narrator) -> list[Step]:
    """Return the steps that bring a removed worktree back."""
    steps: list[Step] = []
    if note.record is not None:
        env_file.require_editable(project, note.record, path)
        steps.append(worktree_record.record_step(project, replace(note.record, path=str(path))))
    checkout = _checkout(project, note, path)
    begun = checkout.done() or _is_begun(project, note, path)
    if not begun:
        _require_free(project, note, path)
    _require_commits(project, note, begun=begun)
    steps += [checkout, *_restore_steps(note, path)]
    if note.record is None:
        return steps
    record = note.record
    hint = f"mend it, then: inv worktree.undo {note.key}"
    return [
        *steps,
        *files.steps(project, record, path, narrator),
        _unpark_step(project, note, narrator, now=removal_record.timestamp()),
        env_file.step(project, record, path),
        *hooks.after_setup(project, record, path, narrator, hint=hint),
        worktree_record.ready_step(project, record),
        *portless.steps(project, record, narrator),
    ]


def _checkout(project: Project, note: removal_record.RemovalRecord, path: Path) -> Step:
    there = note.branch is not None and project.repository.has_branch(note.branch)
    if note.tip is None and not there:
        raise WorktreeError(
            f"no commit is known that was checked out at {note.path}",
            why="worktree and branch were gone before it was removed, or had none; its databases are parked",
            hint=f"git branch {note.branch} COMMIT, then: inv worktree.undo {note.key}",
        )
    return Checkout(project, _mark(note), note.branch, path, None if there else note.tip).step()


def _is_begun(project: Project, note: removal_record.RemovalRecord, path: Path) -> bool:
    """Whether git lists the worktree, and what it lacks can be added: left by a killed call, or by a teardown."""
    row = next((row for row in list_worktrees(project.repository.main) if row.path == path), None)
    if row is None or row.locked not in (None, UNFINISHED):
        return False
    if not os.path.lexists(path) or row.locked == UNFINISHED:
        return True
    unknown = project.record_at(path) is None
    return unknown and (note.only_databases or (row.branch, row.head) == (note.branch, note.tip))


def _require_free(project: Project, note: removal_record.RemovalRecord, path: Path) -> None:
    """Refuse where something has taken the place of what was removed."""
    if path.exists() or path.is_symlink():
        raise WorktreeError(
            f"`{path}` exists already",
            why="the worktree would be made there, and nothing is overwritten",
            hint=f"inv worktree.undo {note.key} --path ANOTHER",
        )
    if note.branch is not None:
        branch_names.require_free(project.repository, note.branch)


def _require_commits(project: Project, note: removal_record.RemovalRecord, *, begun: bool) -> None:
    """Refuse where the branch is another one by now; in a worktree that is there, it may have gone on."""
    if note.branch is None or note.tip is None:
        return
    now = project.repository.commit(f"refs/heads/{note.branch}")
    held = now in (None, note.tip)
    if not held and begun:
        held = is_ancestor(project.repository, note.tip, str(now))
    if not held:
        raise BranchError(
            f"branch `{note.branch}` is at {str(now)[:12]} now, not at {str(note.tip)[:12]}",
            why="it was made again, or moved, after the removal",
            hint=f"git branch -m {note.branch} ANOTHER, then: inv worktree.undo {note.key}",
        )


def _unpark_step(
    project: Project,
    note: removal_record.RemovalRecord,
    narrator: Narrator,
    *,
    now: str,
    aside: removal_record.RemovalRecord | None = None,
) -> Step:
    """
    Return the step that brings back what was parked with *note*; undone, it parks it again.

    Args:
        now: When what is in its place is parked.
        aside: The note of that, which is forgotten when nothing was.
    """
    from tasks_lib.databases.clone import park

    repository = project.registry.repository_id
    back: list[str] = []

    def do() -> str:
        found = park.unpark(
            project.server,
            repository=repository,
            slug=note.slug,
            parked=note.removed,
            now=now,
            report=narrator.detail,
        )
        back.extend(found)
        if (
            note.record
            and note.record.clone
            and not found
            and not park.has_active_database(project.server, repository, note.slug)
        ):
            narrator.say("warning: its databases are not parked any more; in the worktree: inv worktree.db")
        if aside is not None and not found:
            removal_record.delete(project, aside)
        return ", ".join(found) or "there is none"

    def undo() -> None:
        if back:
            park.park(
                project.server,
                repository=repository,
                slug=note.slug,
                now=note.removed,
                report=narrator.detail,
                only=back,
            )

    return Step("bring back its databases", do, undo)
