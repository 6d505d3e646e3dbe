"""
Undo a removal: restore the worktree, its branch, its uncommitted work and its databases.

The removal record says what was removed, a git ref has kept the commits, and the databases are parked. The worktree
may get another port, because its previous one may be in use. The removal record is deleted last, so that a killed run
is finished by running the same command again.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tasks_lib.errors import BranchError, WorktreeError
from tasks_lib.files import delete_tree
from tasks_lib.git import uncommitted
from tasks_lib.git.branch_names import require_free_branch
from tasks_lib.git.merge_detection import is_ancestor
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.removal.removal_record import RemovalRecord
from tasks_lib.worktrees.removal.unseen_files import restore_files
from tasks_lib.worktrees.steps.checkout import UNFINISHED, Checkout
from tasks_lib.worktrees.steps.env_file import env_file_step, require_editable_env_file
from tasks_lib.worktrees.steps.files import file_steps
from tasks_lib.worktrees.steps.hooks import after_setup_steps
from tasks_lib.worktrees.steps.portless import portless_steps
from tasks_lib.worktrees.steps.rename_databases import rename_databases_step
from tasks_lib.worktrees.steps.submodules import submodule_steps
from tasks_lib.worktrees.steps.worktree_record import ready_step, record_step
from tasks_lib.worktrees.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Undo:
    """
    A removal to undo.

    Attributes:
        path: Where the worktree is restored.
    """

    removal: RemovalRecord
    path: Path


@contextmanager
def plan_undo(project: Project, name: str, narrator: Narrator, *, path: str = "") -> Iterator[Planned[Undo]]:
    """
    Plan to restore a removed worktree. The `with` body runs under the worktree's lock.

    Args:
        name: Branch, slug, previous path or a removal record's key. Empty for the latest removal.
        path: Where the worktree goes, by default where it was.

    Raises:
        WorktreeError, BranchError: If the removal is unknown, or its branch or path is in use again.
    """
    removal = _find_removal(project, name)
    with project.registry.working_on(removal.slug):
        # Read again: the previous holder of the lock may have undone it.
        removal = _find_removal(project, removal.key)
        registered = project.registry.paths().get(_registered_name(removal))
        chosen = Path(path or removal.path).expanduser()
        # git lists worktrees by their real paths. The last part is not resolved: a dangling link there is in the way.
        target = registered or Path(os.path.realpath(chosen.parent), chosen.name)
        record = project.registry.find(removal.slug)
        if record is not None and record.state == "ready" and removal.only_databases:
            steps = _database_steps(project, removal, record, target, narrator)
        elif record is None or _is_same_worktree(removal, record):
            steps = _worktree_steps(project, removal, target, narrator)
        else:
            raise WorktreeError(
                f"branch `{record.identity.branch}` has a worktree at {registered or record.path}",
                why=f"it was created after the removal of {removal.removed_at[:16]}",
                hint=f"remove it, then run `inv worktree.undo {removal.key}`:\ninv worktree.remove {record.slug}",
            )
        steps.append(Step("delete the removal record", lambda: _delete_removal(project, removal)))
        yield Planned(
            Undo(removal, target), (Plan([*steps], hint=f"fix it, then run:\ninv worktree.undo {removal.key}"),)
        )


def _delete_removal(project: Project, removal: RemovalRecord) -> str | None:
    delete_tree(removal.trash)
    if not removal.trash.exists():
        removal_record.delete(project, removal)
        return None
    # `worktree.gc` deletes the files, and the record with them.
    removal_record.write(project, msgspec.structs.replace(removal, undone=True))
    uncommitted.delete(project.repository, removal.reference)
    return f"some files could not be deleted and stay in {removal.trash}"


def _registered_name(removal: RemovalRecord) -> str:
    """Return the name that git's directory of the restored worktree is marked with."""
    # Not the slug of a worktree without a record: it derives from the path, where another worktree may be now.
    return removal.slug if removal.worktree else removal.key


def _is_same_worktree(removal: RemovalRecord, record: Record) -> bool:
    """Whether *record* is the removed worktree's, because its removal or an earlier undo was interrupted."""
    return removal.worktree is not None and removal.worktree.created_at == record.created_at


def _find_removal(project: Project, name: str) -> RemovalRecord:
    removals = removal_record.list_removals(project)
    for removal in removals:
        branch = removal.worktree.identity.branch if removal.worktree else None
        names = (removal.branch, branch, removal.slug, removal.key)
        if not name or name in names or os.path.realpath(name) == removal.path:
            return removal
    known = ", ".join(dict.fromkeys(removal.branch or removal.path for removal in removals)) or "none"
    raise WorktreeError(
        f"no removal of `{name}` was found" if name else "nothing to undo: no removal was found",
        why=f"removals that can be undone: {known}",
    )


def _database_steps(
    project: Project, removal: RemovalRecord, record: Record, path: Path, narrator: Narrator
) -> list[Step]:
    """Return the steps that restore the databases, from before a reset or teardown, of a worktree that exists."""
    replaced = RemovalRecord.of_databases(record, path, removal.branch, removal_record.timestamp())

    def write() -> None:
        removal_record.write(project, replaced)

    return [
        Step("record which databases are replaced", write, undo=lambda: removal_record.delete(project, replaced)),
        *_restore_steps(project, removal, path, overwrite=False),
        _Unpark(project, removal, narrator, parked_at=replaced.removed_at, replaced=replaced).step(),
    ]


def _restore_steps(project: Project, removal: RemovalRecord, path: Path, *, overwrite: bool) -> list[Step]:
    """
    Return the steps that restore the files that no branch has.

    Args:
        overwrite: Replace ignored files that exist: only the checkout and its hooks have written there.
    """
    steps, commit = [], str(removal.saved)
    if removal.saved not in (None, removal.tip):
        steps.append(
            Step(
                "restore its uncommitted work",
                lambda: uncommitted.restore(path, commit),
                done=lambda: path.exists() and uncommitted.is_restored(path, commit),
            )
        )

    def restore_unseen() -> str:
        restored = restore_files(project, removal, path, overwrite=overwrite)
        # A command after setup may change the files: a run that finishes this one must not take that for a conflict.
        removal_record.write(project, msgspec.structs.replace(removal, restored=True))
        return restored

    if removal_record.kept_folder(project, removal).exists():
        is_restored = removal.restored and not overwrite
        steps.append(Step("restore its ignored files", restore_unseen, done=lambda: is_restored))
    return steps


def _worktree_steps(project: Project, removal: RemovalRecord, path: Path, narrator: Narrator) -> list[Step]:
    """Return the steps that restore a removed worktree."""
    steps: list[Step] = []
    target = None
    if removal.worktree is not None:
        target = Target(project, msgspec.structs.replace(removal.worktree, path=str(path)), path, narrator)
        require_editable_env_file(target)
        steps.append(record_step(target))
    checkout = _checkout_step(project, removal, path)
    begun = checkout.done() or _is_begun(project, removal, path)
    if not begun:
        _require_free(project, removal, path)
    _require_commits(project, removal, begun=begun)
    steps += [checkout, *_restore_steps(project, removal, path, overwrite=not os.path.lexists(path))]
    steps += submodule_steps(project, path, narrator, f"worktree.undo {removal.key}", removal.saved)
    if target is None:
        return steps
    return [
        *steps,
        *file_steps(target),
        _Unpark(project, removal, narrator, parked_at=removal_record.timestamp()).step(),
        env_file_step(target),
        rename_databases_step(target),
        *after_setup_steps(target),
        ready_step(target),
        *portless_steps(target),
    ]


def _checkout_step(project: Project, removal: RemovalRecord, path: Path) -> Step:
    branch_exists = removal.branch is not None and project.repository.has_branch(removal.branch)
    if removal.tip is None and not branch_exists:
        raise WorktreeError(
            f"the commit that was checked out at {removal.path} is not known",
            why="worktree and branch were deleted before the removal, or had no commit; the databases are parked",
            hint=f"create the branch, then run `inv worktree.undo {removal.key}`:\ngit branch {removal.branch} COMMIT",
        )
    base = None if branch_exists else removal.tip
    command = f"worktree.undo {removal.key}"
    return Checkout(project, _registered_name(removal), removal.branch, path, base, command, removal.tracking).step()


def _is_begun(project: Project, removal: RemovalRecord, path: Path) -> bool:
    """Whether git lists the worktree and the checkout can complete it: left by a killed run, or by a teardown."""
    entry = next((entry for entry in list_worktrees(project.repository.main) if entry.path == path), None)
    if entry is None or entry.locked not in (None, UNFINISHED):
        return False
    if not os.path.lexists(path) or entry.locked == UNFINISHED:
        return True
    unknown = project.record_at(path) is None
    return unknown and (removal.only_databases or (entry.branch, entry.head) == (removal.branch, removal.tip))


def _require_free(project: Project, removal: RemovalRecord, path: Path) -> None:
    """
    Refuse when the path or the branch of the removed worktree is in use again.

    Raises:
        WorktreeError, BranchError: If so.
    """
    if path.exists() or path.is_symlink():
        raise WorktreeError(
            f"`{path}` exists already",
            why="the worktree would be created there, and nothing is overwritten",
            hint=f"inv worktree.undo {removal.key} --path ANOTHER",
        )
    if removal.branch is not None:
        require_free_branch(project.repository, removal.branch)


def _require_commits(project: Project, removal: RemovalRecord, *, begun: bool) -> None:
    """
    Refuse when the branch was moved or created again since the removal.

    Args:
        begun: Whether the worktree exists again. The branch may have newer commits then.

    Raises:
        BranchError: If so.
    """
    if removal.branch is None or removal.tip is None:
        return
    current = project.repository.commit(f"refs/heads/{removal.branch}")
    holds_tip = current in (None, removal.tip)
    if not holds_tip and begun:
        holds_tip = is_ancestor(project.repository, removal.tip, str(current))
    if not holds_tip:
        raise BranchError(
            f"branch `{removal.branch}` is at {str(current)[:12]} now, not at {str(removal.tip)[:12]}",
            why="it was moved or created again after the removal",
            hint=f"rename it, then run `inv worktree.undo {removal.key}`:\ngit branch -m {removal.branch} ANOTHER",
        )


@dataclass(frozen=True)
class _Unpark:
    """
    The step that restores the databases that were parked by *removal*. Its undo parks them again.

    Attributes:
        parked_at: The timestamp for databases that have the restored names now and are parked.
        replaced: The record of those databases, which is deleted if there are none.
        restored: The names of the restored databases.
    """

    project: Project
    removal: RemovalRecord
    narrator: Narrator
    parked_at: str
    replaced: RemovalRecord | None = None
    restored: list[str] = field(default_factory=list)

    def step(self) -> Step:
        """Return the step, after checking that the databases can be restored."""
        from tasks_lib.databases.clone import park

        removal = self.removal
        if removal.only_databases or (removal.worktree and removal.worktree.clone):
            park.check_unpark(self.project.server, self.project.owner(removal.slug), removed_at=removal.removed_at)
        return Step("restore its databases", self.do, self.undo)

    def do(self) -> str:
        from tasks_lib.databases.clone import park

        server, owner, record = self.project.server, self.project.owner(self.removal.slug), self.removal.worktree
        found = park.unpark(
            server,
            owner,
            removed_at=self.removal.removed_at,
            now=self.parked_at,
            report=self.narrator.detail,
        )
        self.restored.extend(found)
        if record and record.clone and not found and not park.has_active_database(server, owner):
            self.narrator.say("warning: its parked databases were deleted; in the worktree, run: inv worktree.db")
        if self.replaced is not None and not found:
            removal_record.delete(self.project, self.replaced)
        return ", ".join(found) or "none parked"

    def undo(self) -> None:
        from tasks_lib.databases.clone import park

        if self.restored:
            park.park(
                self.project.server,
                self.project.owner(self.removal.slug),
                removed_at=self.removal.removed_at,
                report=self.narrator.detail,
                only=self.restored,
            )
