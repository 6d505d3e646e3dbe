"""
What the tasks have in common that equip the worktree one stands in: all of it, its databases, or its clone alone.
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
    """Run or preview `worktrees.setup.setup` with these arguments, and return what the worktree has become."""
    from tasks_lib.worktrees.plans.setup import plan_setup

    here, narrator = current_project(), Narrator()
    options = here.clone_options(fresh=fresh, evict_idle=evict)
    with plan_setup(here, narrator, options, clone_only=clone_only, database_only=database_only) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        ran = planned.run(narrator)
        return report(here.registry.require(planned.subject.slug), here.repository.here, ran)
