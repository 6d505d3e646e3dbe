"""
Removing: refuse while anything could be lost, then take away in the order that fails safely.

First a note, so that `worktree.undo` can bring all of it back; then what runs there is ended, it is
looked at once more, and the worktree goes, by a rename; only then its databases are parked, its
branch and its files are deleted. A check that fails counts as a refusal. A server that
is down does not block a removal: the record stays in `removing`, and `gc` or the same command
finishes it later.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError, WorktreeError
from tasks_lib.git import uncommitted
from tasks_lib.git.cli import run_git
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import Plan, Step, uninterrupted
from tasks_lib.worktrees import processes
from tasks_lib.worktrees.removal import checks, removal_record
from tasks_lib.worktrees.removal.steps import FINISHES, RemovalOutcome, finish_step, park_step, write_step
from tasks_lib.worktrees.steps import hooks, worktree_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tasks_lib.git.repository import WorktreeEntry
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

SWEEPS = "the worktree is gone; `inv worktree.gc --yes` deletes what is left of its files"


@contextmanager
def plan_remove(
    project: Project, name: str, narrator: Narrator, *, force: bool = False, keep_branch: bool = False
) -> Iterator[RemovalOutcome]:
    """
    Plan the removal of the worktree of *name*, or the rest of one that was cut short; hold its lock meanwhile.

    Args:
        name: Branch, slug or path.
        force: Whether to go on although work is not merged or not committed; it is kept for `worktree.undo`.
        keep_branch: Whether to leave the branch.

    Raises:
        WorktreeError: If it is the main worktree, the one we stand in or locked, or work would be lost.
    """
    path, record = project.find(name)
    # A plain worktree's is made from its path: a branch's may be that of another worktree by now.
    slug = record.slug if record else worktree_record.new_slug(project, str(path))
    with project.registry.working_on(slug):
        # Looked up again: whoever held the lock until now may have changed it.
        path, record = project.find(name)
        rows = list_worktrees(project.repository.main)
        listed = next((row for row in rows if row.path == path), None)
        others = [row for row in rows if row.path != path]
        cut_short = removal_record.interrupted_removal(project, record)
        if listed is not None:
            _require_removable(project, listed, others, force=force)
        note = cut_short
        if note is None or (listed is not None and listed.path.exists()):
            note = _note(project, slug, listed, others, record, cut_short, force=force, keep_branch=keep_branch)
        removing = RemovalOutcome(replace(note, delete_branch=note.delete_branch and not keep_branch))
        if listed is not None or note is not cut_short:
            removing.plans.append(_plan_before_removal(project, removing, listed, cut_short, narrator, force=force))
        removing.plans.append(_plan_after_removal(project, removing, narrator))
        yield removing


def _note(
    project: Project,
    slug: str,
    listed: WorktreeEntry | None,
    others: list[WorktreeEntry],
    record: Record | None,
    cut_short: removal_record.RemovalRecord | None,
    *,
    force: bool,
    keep_branch: bool,
) -> removal_record.RemovalRecord:
    """Return the note of a removal, after the refusals that its branch has."""
    branch = listed.branch if listed else record.identity.branch if record else None
    tip = project.repository.commit(f"refs/heads/{branch}") if branch else listed.head if listed else None
    free = branch not in [None, project.repository.default_branch(), *(row.branch for row in others)]
    delete = branch is not None and tip is not None and free and not keep_branch
    if delete and not force:
        checks.require_merged(project, str(branch), str(tip))
    path = str(listed.path) if listed else record.path if record else ""
    # What was parked already bears that moment.
    moment = cut_short.removed if cut_short else removal_record.timestamp()
    return removal_record.RemovalRecord(slug, moment, path, branch, tip, tip, record, delete_branch=delete)


def _plan_before_removal(
    project: Project,
    removing: RemovalOutcome,
    listed: WorktreeEntry | None,
    cut_short: removal_record.RemovalRecord | None,
    narrator: Narrator,
    *,
    force: bool,
) -> Plan:
    """Return what is done until the worktree is gone; all of it is undone when git refuses."""
    note, record = removing.note, removing.note.record
    steps = [write_step(project, removing, cut_short)]
    if listed is None or not listed.path.exists():
        keep = Step("keep its last commit", lambda: _keep(project, note))
        forget = Step(f"let git forget {note.path}", lambda: _forget_worktree(project, note.path))
        return Plan([*steps, keep, *([forget] if listed else [])])
    path = listed.path
    if record is not None:
        hint = "mend it; the worktree is still there"
        configured = project.settings.before_remove
        steps += [hooks.step(project, record, path, command, narrator, hint=hint) for command in configured]
    if running := processes.rooted(path):
        steps.append(Step(f"end {', '.join(f'{one.name} ({one.pid})' for one in running)}", lambda: _end(path)))

    def remove() -> None:
        if not force:
            _keep(project, note)
        # Right before it goes: somebody who works from elsewhere may write into it until then.
        _require_nothing_lost(project, listed, force=force)
        if force:
            kept = uncommitted.save(path, note.reference, message=f"Uncommitted work of {note.slug}")
            removing.note = removal_record.write(project, replace(note, saved=kept))
        _move_aside(project, path, note.trash)

    return Plan([*steps, Step(f"remove the worktree {path}", remove)])


def _plan_after_removal(project: Project, removing: RemovalOutcome, narrator: Narrator) -> Plan:
    """Return what is done once the worktree is gone."""
    note, main = removing.note, project.repository.main
    reference = f"refs/heads/{note.branch}"

    def delete_branch() -> str:
        # A call that finishes another one may come days later.
        if user := next((row.path for row in list_worktrees(main) if row.branch == note.branch), None):
            return f"not: {user} is on it"
        # Only while it is where we saw it: a commit made meanwhile stays.
        run_git("update-ref", "-d", reference, str(note.tip), cwd=main)
        run_git("config", "--remove-section", f"branch.{note.branch}", cwd=main, check=False)
        return f"was at {str(note.tip)[:12]}"

    def delete_files() -> str | None:
        # What a supervisor has started anew meanwhile came along.
        _end(note.trash)
        shutil.rmtree(note.trash, ignore_errors=True)
        return f"some of them cannot be deleted, and stay at {note.trash}" if note.trash.exists() else None

    steps: list[Step | tuple[Step, ...]] = [*park_step(project, removing, narrator)]
    if note.delete_branch:
        moved = Step(
            f"delete branch {note.branch}",
            delete_branch,
            done=lambda: project.repository.commit(reference) != note.tip,
        )
        steps.append(moved)
    steps.append(Step("delete its files", delete_files))
    return Plan([*steps, *finish_step(project, removing)], interrupted=FINISHES if note.record else SWEEPS)


def _require_removable(project: Project, listed: WorktreeEntry, others: list[WorktreeEntry], *, force: bool) -> None:
    checks.require_removable(project, listed, others)
    if listed.path.exists():
        _require_nothing_lost(project, listed, force=force)


def _require_nothing_lost(project: Project, listed: WorktreeEntry, *, force: bool) -> None:
    if force:
        checks.require_saveable(listed.path)
    else:
        checks.require_nothing_lost(project, listed)


def _end(path: Path) -> str:
    ended: list[processes.Ended] = []
    for _ in range(3):  # one that ends may have forked first
        ended += processes.end(running := processes.rooted(path))
        if not running:
            break
    return ", ".join(f"{one.name} by {one.signal}" for one in ended)


def _keep(project: Project, note: removal_record.RemovalRecord) -> None:
    """Keep the commit that the note names from git's garbage collection."""
    if note.saved is not None:
        run_git("update-ref", note.reference, note.saved, cwd=project.repository.main)


def _move_aside(project: Project, path: Path, trash: Path) -> None:
    """
    Take the worktree at *path* away at once, whole: a deletion that is killed half-way would leave no worktree.

    Ctrl-C waits: it reaches git as well, which would be left with half of what it knows of the worktree.

    Raises:
        WorktreeError: If its directory cannot be moved, or not back.
        GitError: If git refuses; it is where it was then.
    """
    with uninterrupted():
        try:
            path.rename(trash)
        except OSError as error:
            raise WorktreeError(
                f"`{path}` cannot be moved away: {error.strerror}", why="it is removed as a whole"
            ) from None
        try:
            _forget_worktree(project, path)
        except GitError as refusal:
            try:
                trash.rename(path)
            except OSError:
                raise WorktreeError(
                    f"something has taken the place of `{path}` meanwhile",
                    why=f"its files are at {trash}\n{refusal.why}",
                    hint="move what is there away, then run the same command",
                ) from None
            raise


def _forget_worktree(project: Project, path: str | Path) -> None:
    # By its name, and never `git worktree prune`, which would unregister whatever is on a volume that is away.
    run_git("worktree", "remove", "--force", path, cwd=project.repository.main)
