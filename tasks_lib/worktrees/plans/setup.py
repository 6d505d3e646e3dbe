"""
Set up an existing worktree, whichever program created it: everything that `worktree.create` does but the checkout.

A second run does only what is missing.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import WorktreeError
from tasks_lib.git.cli import read_git
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.env.guard import refuse_exported_database_url
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.steps import worktree_record
from tasks_lib.worktrees.steps.databases import (
    check_databases,
    companion_database_steps,
    own_database,
    own_database_step,
)
from tasks_lib.worktrees.steps.env_file import env_file_step, require_editable_env_file
from tasks_lib.worktrees.steps.files import file_steps
from tasks_lib.worktrees.steps.hooks import after_setup_steps, clear_ran_hooks, companion_setup_steps
from tasks_lib.worktrees.steps.portless import portless_steps
from tasks_lib.worktrees.steps.rename_databases import rename_databases_step
from tasks_lib.worktrees.steps.submodules import submodule_steps
from tasks_lib.worktrees.steps.toolchain import toolchain_steps
from tasks_lib.worktrees.steps.worktree_record import new_record, ready_step, record_step
from tasks_lib.worktrees.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.identity import Identity
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@contextmanager
def plan_setup(
    project: Project,
    narrator: Narrator,
    options: CloneOptions,
    *,
    clone_only: bool = False,
    database_only: bool = False,
) -> Iterator[Planned[Record]]:
    """
    Plan what the current worktree lacks. The `with` body runs under the worktree's lock.

    Args:
        options: How its databases are cloned.
        clone_only: Nothing but its own database.
        database_only: Its databases and the env file that names them. Migrate and generate even if they have run.

    Raises:
        GoldentreeError: If the worktree cannot be set up. Nothing was changed.
    """
    path = project.require_linked()
    known = project.record_at(path)
    slug = known.slug if known else _derive_identity(project, path).slug
    with project.registry.working_on(slug):
        # Read again: the previous holder of the lock may have changed it.
        record = project.record_at(path) or _adopted_record(project, path, slug)
        refuse_exported_database_url(record, os.environ)
        target = Target(project, record, path, narrator)
        first = [record_step(target), _Adoption.of(project, record, path).step()]
        cloned = own_database_step(target, options)
        if clone_only:
            own_database(project, record).check(options)
            yield Planned(record, (Plan([*first, cloned]),))
            return
        check_databases(target, options)
        require_editable_env_file(target)
        hint = f"fix it, then run:\ninv worktree.{'db' if database_only else 'setup'}"
        all_cloned = (cloned, *companion_database_steps(target, options))
        stages: list[Step | tuple[Step, ...]] = [*first, all_cloned]
        if not database_only:
            stages += submodule_steps(project, path, narrator, "worktree.setup")
            stages += file_steps(target)
        stages += [env_file_step(target), rename_databases_step(target)]
        if not database_only:
            stages += after_setup_steps(target)
        stages += companion_setup_steps(target)
        stages += toolchain_steps(target, every_time=database_only)
        stages.append(ready_step(target))
        if not database_only:
            stages += portless_steps(target)
        yield Planned(record, (Plan(stages, hint=hint),))


def _derive_identity(project: Project, path: Path) -> Identity:
    """
    Return the names for the worktree at *path*: from its branch, or from the path if HEAD is detached.

    Raises:
        WorktreeError: If git does not list it.
    """
    entry = next((entry for entry in list_worktrees(path) if entry.path == path), None)
    if entry is None:
        raise WorktreeError(
            f"git lists no worktree at {path}",
            why="it was moved by other means than `git worktree move`",
            hint="git worktree repair",
        )
    if entry.branch is None:
        return worktree_record.derive_detached_identity(project, path)
    return worktree_record.derive_identity(project, entry.branch)


def _adopted_record(project: Project, path: Path, slug: str) -> Record:
    """
    Return the record of a worktree that another program created.

    Raises:
        WorktreeError: If its names belong to another worktree.
    """
    record = project.registry.find(slug)
    if record is None:
        identity = _derive_identity(project, path)
        return new_record(project, identity, path, start=None, made_worktree=False)
    elsewhere = project.registry.paths().get(slug)
    if elsewhere is not None or (record.path != str(path) and Path(record.path).exists()):
        raise WorktreeError(
            f"the names of branch `{record.identity.branch}` belong to the worktree at {elsewhere or record.path}",
            why="a worktree keeps the names of the branch that it was created for",
            hint="git switch --create ANOTHER-BRANCH",
        )
    return record


@dataclass(frozen=True)
class _Adoption:
    """The step that links a record and a worktree to each other."""

    project: Project
    record: Record
    path: Path
    git_directory: Path

    @classmethod
    def of(cls, project: Project, record: Record, path: Path) -> _Adoption:
        return cls(project, record, path, Path(read_git("rev-parse", "--absolute-git-dir", cwd=path)))

    def step(self) -> Step:
        return Step(f"adopt {self.path}", self.do, self.undo, self.done)

    def do(self) -> None:
        clear_ran_hooks(self.project, self.record.slug)
        self.project.registry.mark(self.git_directory, self.record.slug)

    def undo(self) -> None:
        self.project.registry.unmark(self.git_directory)

    def done(self) -> bool:
        return self.project.registry.paths().get(self.record.slug) == self.path
