"""
Park the databases of a worktree that another program is about to delete, such as Conductor from its archive hook.

Uncommitted work and ignored files are saved too, so that `worktree.undo` can restore all of it.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tasks_lib.git import uncommitted
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.remotes import read_tracking
from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.removal import checks, removal_record
from tasks_lib.worktrees.removal.removal_record import RemovalRecord
from tasks_lib.worktrees.removal.steps import RERUN, Removal, finish_steps, park_steps, require_parkable, write_step
from tasks_lib.worktrees.removal.unseen_files import find_unseen_files, keep_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project


@contextmanager
def plan_teardown(project: Project, narrator: Narrator) -> Iterator[Planned[Removal] | None]:
    """
    Plan to park the databases of the current worktree. The `with` body runs under the worktree's lock.

    Yields None for a worktree that has no databases.

    Raises:
        WorktreeError: If it is the main worktree, or a repository in it has work that would not be saved.
    """
    path = project.require_linked()
    record = project.record_at(path)
    if record is None:
        yield None
        return
    with project.registry.working_on(record.slug):
        # Read again: the previous holder of the lock may have changed it.
        record = project.require_record_here()
        interrupted = removal_record.interrupted_removal(project, record)
        if interrupted is None:
            checks.require_saveable(path)
        require_parkable(project, record)
        branch = run_git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=path, check=False).stdout.strip() or None
        tip = run_git("rev-parse", "--verify", "--quiet", "HEAD", cwd=path, check=False).stdout.strip() or None
        removal = Removal(
            RemovalRecord(
                record.slug,
                # The databases that an interrupted run has parked carry its timestamp.
                interrupted.removed_at if interrupted else removal_record.timestamp(),
                str(path),
                branch,
                tip,
                saved=tip,
                worktree=record,
                only_databases=True,
                tracking=read_tracking(project.repository, branch) if branch else None,
            )
        )
        git_directory = Path(read_git("rev-parse", "--absolute-git-dir", cwd=path))

        def save_uncommitted() -> str:
            saved = removal.record
            if tip is not None:
                commit = uncommitted.save(path, saved.reference, message=f"Uncommitted work of {saved.slug}")
                saved = msgspec.structs.replace(saved, saved=commit)
            removal.unseen = find_unseen_files(project, record, path)
            removal.record = removal_record.write(project, keep_files(project, saved, path, removal.unseen))
            return removal.unseen.text

        save = Plan(
            [
                write_step(project, removal, interrupted),
                Step("save uncommitted work for worktree.undo", save_uncommitted),
            ]
        )
        park = Plan(
            [
                *park_steps(project, removal, narrator),
                Step("detach the worktree from its record", lambda: project.registry.unmark(git_directory)),
                *finish_steps(project, removal),
            ],
            interrupted=RERUN,
        )
        yield Planned(removal, (save, park))
