"""
Remove a worktree, in an order that is safe to interrupt, after checking that no work would be lost.

The removal is recorded first, so that `worktree.undo` can restore everything. Then the processes in the worktree are
ended, the checks run a second time, and the worktree is moved aside by a rename. Only after that its databases are
parked and its branch and files deleted. A check that fails to get an answer refuses. A server that cannot be reached
does not block the removal: the worktree's record stays in state `removing`, and `worktree.gc` or the same command
finishes it later.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from tasks_lib.errors import GitError, WorktreeError
from tasks_lib.files import delete_tree
from tasks_lib.git import uncommitted
from tasks_lib.git.cli import run_git
from tasks_lib.git.merge_detection import is_ancestor
from tasks_lib.git.pull_requests import is_pull_request
from tasks_lib.git.remotes import find_default_branch, read_tracking
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import Plan, Step, uninterrupted
from tasks_lib.program_name import name_program
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.processes import EndedProcess, end_processes, find_processes_in
from tasks_lib.worktrees.removal import checks, removal_record
from tasks_lib.worktrees.removal.removal_record import RemovalRecord
from tasks_lib.worktrees.removal.steps import RERUN, Removal, finish_steps, park_steps, require_parkable, write_step
from tasks_lib.worktrees.removal.unseen_files import UnseenFiles, find_unseen_files, keep_files, require_all_kept
from tasks_lib.worktrees.steps import worktree_record
from tasks_lib.worktrees.steps.hooks import RunCommand
from tasks_lib.worktrees.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tasks_lib.git.repository import WorktreeEntry
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

_FILES_LEFT = "the worktree is removed; `inv worktree.gc --yes` deletes the rest of its files"


@contextmanager
def plan_remove(
    project: Project, name: str, narrator: Narrator, *, force: bool = False, keep_branch: bool = False
) -> Iterator[Planned[Removal]]:
    """
    Plan the removal of a worktree, or the rest of an interrupted one. The `with` body runs under the worktree's lock.

    Args:
        name: Branch, slug or path.
        force: Go on although work is not merged or not committed. It is saved for `worktree.undo`.
        keep_branch: Do not delete the branch.

    Raises:
        WorktreeError: If the worktree is the main one, the current one or locked, or if work would be lost, or more
            ignored files than can be kept.
    """
    path, worktree = project.find(name)
    # Without a record, derive the slug from the path: another worktree may have the branch since then.
    slug = worktree.slug if worktree else worktree_record.derive_identity(project, str(path)).slug
    with project.registry.working_on(slug):
        # Read again: the previous holder of the lock may have changed it.
        path, worktree = project.find(name)
        entries = list_worktrees(project.repository.main)
        entry = next((entry for entry in entries if entry.path == path), None)
        others = [entry for entry in entries if entry.path != path]
        interrupted = removal_record.interrupted_removal(project, worktree)
        unseen = UnseenFiles()
        if entry is not None:
            checks.require_removable(project, entry, others)
            if entry.path.exists():
                unseen = _require_nothing_lost(project, entry, worktree, force=force)
        record = interrupted
        if record is None or (entry is not None and entry.path.exists()):
            record = _new_record(project, slug, entry, others, worktree, interrupted, keep_branch=keep_branch)
            if record.delete_branch and not force and not _is_on_server(project, record):
                checks.require_merged(project, str(record.branch), str(record.tip))
        record = msgspec.structs.replace(record, delete_branch=record.delete_branch and not keep_branch)
        require_parkable(project, worktree, force=force)
        removal = Removal(record, unseen=unseen)
        plans = [_plan_after_removal(project, removal, narrator)]
        if entry is not None or interrupted is None:
            plans.insert(0, _plan_before_removal(project, removal, entry, interrupted, narrator, force=force))
        yield Planned(removal, tuple(plans))


def _new_record(
    project: Project,
    slug: str,
    entry: WorktreeEntry | None,
    others: list[WorktreeEntry],
    worktree: Record | None,
    interrupted: RemovalRecord | None,
    *,
    keep_branch: bool,
) -> RemovalRecord:
    branch = entry.branch if entry else worktree.identity.branch if worktree else None
    tip = project.repository.commit(f"refs/heads/{branch}") if branch else entry.head if entry else None
    in_use = [find_default_branch(project.repository), project.base_branch, *(entry.branch for entry in others)]
    delete_branch = branch is not None and tip is not None and branch not in in_use and not keep_branch
    path = str(entry.path) if entry else worktree.path if worktree else ""
    # The databases that an interrupted run has parked carry its timestamp.
    removed_at = interrupted.removed_at if interrupted else removal_record.timestamp()
    tracking = read_tracking(project.repository, branch) if branch else None
    return RemovalRecord(
        slug,
        removed_at,
        path,
        branch,
        tip,
        saved=tip,
        worktree=worktree,
        delete_branch=delete_branch,
        tracking=tracking,
    )


def _is_on_server(project: Project, removal: RemovalRecord) -> bool:
    """Whether the branch is a pull request without further commits: the server keeps these, no remote branch does."""
    worktree = removal.worktree
    return (
        worktree is not None
        and worktree.base is not None
        and is_pull_request(worktree.tracking)
        and is_ancestor(project.repository, str(removal.tip), worktree.base)
    )


def _plan_before_removal(
    project: Project,
    removal: Removal,
    entry: WorktreeEntry | None,
    interrupted: RemovalRecord | None,
    narrator: Narrator,
    *,
    force: bool,
) -> Plan:
    """Return the steps up to the worktree's removal. If git refuses, all of them are undone."""
    record, worktree = removal.record, removal.record.worktree
    steps = [write_step(project, removal, interrupted)]
    if entry is None or not entry.path.exists():
        steps.append(Step("keep its last commit", lambda: _keep_commits(project, record)))
        if entry is not None:
            steps.append(Step(f"let git forget {record.path}", lambda: _forget_worktree(project, record.path)))
        return Plan([*steps])
    path = entry.path
    if worktree is not None:
        target = Target(project, worktree, path, narrator)
        steps += [RunCommand(target, command).step() for command in project.settings.before_remove]
    if running := find_processes_in(path):
        names = ", ".join(f"{process.name} ({process.pid})" for process in running)
        steps.append(Step(f"end {names}", lambda: _end_processes(path)))

    planned = removal.unseen.text

    def remove() -> str | None:
        if not force:
            _keep_commits(project, record)
        # Again, right before the removal: the commands above, or a process outside, may have written work.
        removal.unseen = _require_nothing_lost(project, entry, worktree, force=force)
        saved = record
        if force:
            commit = uncommitted.save(path, record.reference, message=f"Uncommitted work of {record.slug}")
            saved = msgspec.structs.replace(record, saved=commit)
        saved = keep_files(project, saved, path, removal.unseen)
        removal.record = removal_record.write(project, saved)
        _move_aside(project, path, record.trash)
        return removal.unseen.text if removal.unseen.text != planned else None

    hint = "fix the command in `worktree.before_remove`; the worktree was not removed"
    title = ", ".join(filter(None, (f"remove the worktree {path}", planned)))
    return Plan([*steps, Step(title, remove)], hint=hint)


def _plan_after_removal(project: Project, removal: Removal, narrator: Narrator) -> Plan:
    record, main = removal.record, project.repository.main
    reference = f"refs/heads/{record.branch}"

    def delete_branch() -> str:
        # A run that finishes an interrupted removal may come days later.
        if user := next((entry.path for entry in list_worktrees(main) if entry.branch == record.branch), None):
            return f"kept: {user} is on it"
        # With the expected commit, so that a branch with newer commits is not deleted.
        run_git("update-ref", "-d", reference, str(record.tip), cwd=main)
        with project.registry.locked():
            run_git("config", "--remove-section", f"branch.{record.branch}", cwd=main, check=False)
        return f"was at {str(record.tip)[:12]}"

    def delete_files() -> str | None:
        # A supervisor may have restarted a process, which moved along with the directory.
        _end_processes(record.trash)
        delete_tree(record.trash)
        return f"some could not be deleted and stay in {record.trash}" if record.trash.exists() else None

    steps: list[Step | tuple[Step, ...]] = [*park_steps(project, removal, narrator)]
    if record.delete_branch:
        steps.append(
            Step(
                f"delete branch {record.branch}",
                delete_branch,
                done=lambda: project.repository.commit(reference) != record.tip,
            )
        )
    steps.append(Step("delete its files", delete_files))
    return Plan(
        [*steps, *finish_steps(project, removal)], interrupted=RERUN if record.worktree else name_program(_FILES_LEFT)
    )


def _require_nothing_lost(
    project: Project, entry: WorktreeEntry, worktree: Record | None, *, force: bool
) -> UnseenFiles:
    """Refuse while something would be lost, and return what git does not see."""
    if force:
        checks.require_saveable(entry.path)
    else:
        checks.require_nothing_lost(project, entry)
    unseen = find_unseen_files(project, worktree, entry.path)
    if not force:
        require_all_kept(project, entry.path, unseen)
    return unseen


def _end_processes(path: Path) -> str:
    ended: list[EndedProcess] = []
    for _ in range(3):  # a process may fork before it ends
        ended += end_processes(running := find_processes_in(path))
        if not running:
            break
    return ", ".join(f"{process.name} by {process.signal}" for process in ended)


def _keep_commits(project: Project, record: RemovalRecord) -> None:
    """Protect the commit that *record* names from git's garbage collection."""
    if record.saved is not None:
        run_git("update-ref", record.reference, record.saved, cwd=project.repository.main)


def _move_aside(project: Project, path: Path, trash: Path) -> None:
    """
    Rename the worktree at *path* to *trash* and unregister it, both or neither.

    A rename, because a deletion that is killed halfway would leave a broken worktree. Ctrl-C waits: it also reaches
    git, which would be left with half of its administrative files.

    Raises:
        WorktreeError: If the directory cannot be renamed, or cannot be renamed back.
        GitError: If git refuses. The worktree is back in its place.
    """
    with uninterrupted():
        try:
            path.rename(trash)
        except OSError as error:
            raise WorktreeError(
                f"`{path}` cannot be renamed: {error.strerror}",
                why="a worktree is moved aside as a whole before it is deleted",
            ) from None
        try:
            _forget_worktree(project, path)
        except GitError as refusal:
            try:
                trash.rename(path)
            except OSError:
                raise WorktreeError(
                    f"another file or directory was created at `{path}` during its removal",
                    why=f"its files are in {trash}\n{refusal.why}",
                    hint=f"move {path} elsewhere, then run the same command",
                ) from None
            raise


def _forget_worktree(project: Project, path: str | Path) -> None:
    # Never `git worktree prune`, which would also unregister worktrees on an unmounted volume.
    run_git("worktree", "remove", "--force", path, cwd=project.repository.main)
