"""
Tearing down: the database part of a removal, for whoever removes the worktree itself (Conductor's archive hook).

What is uncommitted is kept as well: once the worktree is gone, `worktree.undo` brings all of it back.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.git import uncommitted
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.removal.steps import FINISHES, RemovalOutcome, finish_step, park_step, write_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project


@contextmanager
def plan_teardown(project: Project, narrator: Narrator) -> Iterator[RemovalOutcome | None]:
    """
    Plan to park the databases of the worktree that we stand in; None where it has none of its own.

    Raises:
        WorktreeError: If it is the main worktree.
    """
    here = project.require_linked()
    record = project.record_at(here)
    if record is None:
        yield None
        return
    with project.registry.working_on(record.slug):
        # Looked up again: whoever held the lock until now may have changed it.
        record = project.require_record_here()
        cut_short = removal_record.interrupted_removal(project, record)
        branch = run_git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=here, check=False).stdout.strip() or None
        tip = run_git("rev-parse", "--verify", "--quiet", "HEAD", cwd=here, check=False).stdout.strip() or None
        # What was parked already bears that moment.
        moment = cut_short.removed if cut_short else removal_record.timestamp()
        removing = RemovalOutcome(
            removal_record.RemovalRecord(record.slug, moment, str(here), branch, tip, tip, record, only_databases=True)
        )
        note = removing.note
        git_directory = Path(read_git("rev-parse", "--absolute-git-dir", cwd=here))

        def keep() -> None:
            if tip is not None:
                commit = uncommitted.save(here, note.reference, message=f"Uncommitted work of {note.slug}")
                removing.note = removal_record.write(project, replace(note, saved=commit))

        removing.plans = [
            Plan([write_step(project, removing, cut_short), Step("keep what is uncommitted, for worktree.undo", keep)]),
            Plan(
                [
                    *park_step(project, removing, narrator),
                    Step("let go of the worktree", lambda: project.registry.unmark(git_directory)),
                    *finish_step(project, removing),
                ],
                interrupted=FINISHES,
            ),
        ]
        yield removing
