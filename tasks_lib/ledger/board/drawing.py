"""
Draw the graph of tasks as HTML: boxes that link to the tasks' rows, over lines of SVG.

The boxes are HTML, because only HTML wraps and truncates text of unknown width and direction.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from tasks_lib.ledger.board.layout import HEIGHT, WIDTH, lay_out
from tasks_lib.ledger.board.text import STATES, mark
from tasks_lib.ledger.schema.work import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.ledger.board.content import Board, Work
    from tasks_lib.ledger.board.layout import Point
    from tasks_lib.ledger.schema.work import Task

MOST = 1000
"""The maximum number of tasks in a drawing, which takes 0.2 seconds; a larger one would be unreadable."""

PRINTED = 1000
"""The width of a printed page in pixels."""


def drawing(board: Board, work: Work, name: str) -> str:
    """Return the graph of the tasks of *work*, called *name*, in a region that scrolls."""
    # If there are too many, prefer unfinished tasks.
    tasks = sorted(work.tasks, key=lambda task: board.states[task.id] == "completed")[:MOST]
    drawn = {task.id for task in tasks}
    edges = [(blocker, task.id) for task in tasks for blocker in work.waits.get(task.id, ()) if blocker in drawn]
    plan = lay_out([task.id for task in work.tasks if task.id in drawn], edges)
    lines = "".join(
        f'<path data-from="{before}" data-to="{after}" class="{board.states[before]}" d="{_path(points)}"/>'
        for (before, after), points in plan.lines.items()
    )
    # Column by column, so that the keyboard reaches tasks in the order in which they can be done.
    boxes = "".join(
        _box(board, work, task, plan.boxes[task.id]) for task in sorted(tasks, key=lambda task: plan.boxes[task.id])
    )
    left_out = f"<p>Showing {MOST} of {len(work.tasks)} tasks.</p>" if len(tasks) < len(work.tasks) else ""
    return f"""
{left_out}<div class="region" role="region" aria-label="Graph of tasks: {escape(name)}" tabindex="0">
<div class="plane" style="width:{plan.width}px;height:{plan.height}px;--fit:{min(1, PRINTED / plan.width):.3f}">
<svg class="lines" width="{plan.width}" height="{plan.height}" aria-hidden="true">{lines}</svg>
<ol>{boxes}</ol>
</div>
</div>"""


def _box(board: Board, work: Work, task: Task, corner: Point) -> str:
    state = board.states[task.id]
    return (
        f'<li class="box {state}" style="left:{corner[0]}px;top:{corner[1]}px;width:{WIDTH}px;height:{HEIGHT}px">'
        f'<a id="box-{task.id}" href="#task-{task.id}" data-task="{task.id}" title="{escape(task.name)}">'
        f'{mark(state)}<span class="name" dir="auto">{escape(task.name)}</span>'
        f'<span class="remark">{" · ".join(_remarks(board, work, task))}</span></a></li>'
    )


def _remarks(board: Board, work: Work, task: Task) -> Sequence[str]:
    """Return the state of a task, and what is relevant in that state."""
    state = board.states[task.id]
    remarks = [STATES[state]]
    if holder := board.holders.get(task.id):
        remarks.append(f"<bdi>{escape(holder.name)}</bdi>")
    elif state == "in_progress":
        remarks.append("no holder")
    if state in ("ready", "waiting") and task.priority is not Priority.MEDIUM:
        remarks.append(f"{task.priority} priority")
    if task.retry_count:
        remarks.append(f"{task.retry_count} failed")
    return remarks


def _path(points: Sequence[Point]) -> str:
    """Return a line through *points*, in which curves and straight segments alternate."""
    drawn = [f"M{points[0][0]} {points[0][1]}"]
    for number, ((x, y), (to_x, to_y)) in enumerate(pairwise(points)):
        half = (x + to_x) // 2
        drawn.append(f"H{to_x}" if number % 2 else f"C{half} {y} {half} {to_y} {to_x} {to_y}")
    return "".join(drawn)
