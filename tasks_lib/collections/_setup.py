"""
The shared body of worktree.setup, worktree.db and db.clone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.collections._project import current_project
from tasks_lib.collections.views.results import preview, report
from tasks_lib.output import Narrator

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.collections._task import Answer


def set_up(c: Context, *, fresh: bool, evict: bool, clone_only: bool = False, database_only: bool = False) -> Answer:
    """Set up the current worktree, or preview it, and return its state."""
    from tasks_lib.worktrees.plans.setup import plan_setup

    project, narrator = current_project(), Narrator()
    options = project.clone_options(fresh=fresh, evict_idle=evict)
    with plan_setup(project, narrator, options, clone_only=clone_only, database_only=database_only) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        ran = planned.run(narrator)
        return report(project.registry.require(planned.subject.slug), project.repository.current, ran)
