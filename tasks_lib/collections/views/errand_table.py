"""
Format errands with the state of their worktrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections.views.rows import row_for_json
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import format_table
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.workflows.errand_status import ErrandState


def errand_for_json(state: ErrandState) -> dict[str, Any]:
    """Return the errand as a JSON object, with `path`, `dirty`, `ahead` and `problem` of its worktree, or null."""
    problem = state.problem
    return row_for_json(state.errand) | {
        "path": state.listed and state.listed.path,
        "dirty": state.dirty,
        "ahead": state.ahead,
        "problem": problem and {"message": problem.what, "hint": name_program(problem.cure)},
    }


def format_errands(states: Sequence[ErrandState]) -> str:
    """Return a table with a line for each errand."""
    cells = [
        (
            short_id(state.errand.id),
            state.errand.status,
            state.errand.agent_alias or "-",
            _worktree_cell(state),
            state.errand.branch,
            state.errand.description,
        )
        for state in states
    ]
    headings = ("ID", "STATUS", "AGENT", "WORKTREE", "BRANCH", "DESCRIPTION")
    return format_table(headings, cells, spare=("BRANCH", "AGENT")) if cells else "no errands"


def _worktree_cell(state: ErrandState) -> str:
    if state.listed is None or not state.listed.path.exists():
        return "gone"
    dirty = "?" if state.dirty is None else "dirty" if state.dirty else "clean"
    return ", ".join([dirty, *([f"ahead {state.ahead}"] if state.ahead else [])])
