"""
Each initiative with its phases, the graph of its tasks, and a table of its tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.ledger.board.drawing import drawing
from tasks_lib.ledger.board.text import NONE, STATES, badge, code, mark, said, table, words, written
from tasks_lib.ledger.schema.work import InitiativeStatus, Priority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.ledger.board.content import Board, Work
    from tasks_lib.ledger.schema.work import Phase, Task

_OVER = (InitiativeStatus.COMPLETED, InitiativeStatus.ARCHIVED)


def legend(board: Board) -> str:
    """Return the states with their marks and counts; unchecked states fade."""
    entries = "".join(
        f'<label class="{state}"><input type="checkbox" value="{state}" checked>{mark(state)}'
        f"<span>{label}</span> <b>{board.counts[state]}</b></label>"
        for state, label in STATES.items()
    )
    return f'<fieldset class="legend"><legend>Tasks by state</legend>{entries}</fieldset>'


def initiatives(board: Board) -> str:
    """Return all initiatives, active ones first."""
    works = [_initiative(board, work) for work in board.works]
    return "".join(works) or '<p class="none">No initiatives and no tasks yet.</p>'


def _initiative(board: Board, work: Work) -> str:
    """Return an initiative, or the tasks without one: its phases, the graph, and the tasks as a table."""
    initiative = work.initiative
    name = initiative.name if initiative else "Tasks without an initiative"
    done = sum(board.states[task.id] == "completed" for task in work.tasks)
    about = [f"{done} of {len(work.tasks)} tasks completed"]
    if initiative and initiative.branch:
        about.append(code(initiative.branch))
    body = f"""<p class="about">{" ".join(f"<span>{part}</span>" for part in about)}</p>
{_share(board, work.tasks)}
{_phases(board, work) if work.phases else ""}
{drawing(board, work, name) if work.tasks else '<p class="none">No tasks yet.</p>'}
{_tasks(board, work) if work.tasks else ""}"""
    title = f"<h3>{said(name)}</h3> {badge(initiative.status) if initiative else ''}"
    if initiative and initiative.status in _OVER:
        return f"<article><details><summary>{title}</summary>{body}</details></article>"
    return f"<article>{title}{body}</article>"


def _share(board: Board, tasks: Sequence[Task]) -> str:
    """Return the distribution of the tasks over the states as a bar; the legend has the counts."""
    states = [board.states[task.id] for task in tasks]
    parts = ((state, states.count(state)) for state in STATES)
    bar = "".join(f'<i class="{state}" style="flex-grow:{number}"></i>' for state, number in parts if number)
    return f'<div class="share" aria-hidden="true">{bar}</div>'


def _phases(board: Board, work: Work) -> str:
    names = {phase.id: phase.name for phase in work.phases}

    def cells(phase: Phase) -> list[str]:
        mine = [task for task in work.tasks if task.phase_id == phase.id]
        done = sum(board.states[task.id] == "completed" for task in mine)
        waits = ", ".join(said(names[blocker]) for blocker in work.waits.get(phase.id, ()) if blocker in names)
        return [said(phase.name), badge(phase.status), f"{done} of {len(mine)} {_share(board, mine)}", waits or NONE]

    return table("Phases", ("Phase", "State", "Completed", "Waits for"), map(cells, work.phases))


def _tasks(board: Board, work: Work) -> str:
    """Return all tasks as a table, the target of the graph's links."""
    tasks = {task.id: task for task in work.tasks}
    phases = {phase.id: phase.name for phase in work.phases}

    def cells(task: Task) -> list[str]:
        waits = ", ".join(
            f'<a href="#task-{blocker}">{said(tasks[blocker].name)}</a>'
            for blocker in work.waits.get(task.id, ())
            if blocker in tasks
        )
        holder = board.holders.get(task.id)
        return [
            f"{said(task.name)}<small>{code(task.id[:8])}</small>{written(task.description)}",
            f"{mark(board.states[task.id])} {STATES[board.states[task.id]]}",
            words(task.category) + (f", {task.priority} priority" if task.priority is not Priority.MEDIUM else ""),
            said(phases.get(task.phase_id or "")),
            waits or NONE,
            said(holder.name if holder else None),
            written(task.summary) or NONE,
        ]

    rows = table(
        "Tasks",
        ("Task", "State", "Kind", "Phase", "Waits for", "Held by", "Outcome"),
        map(cells, work.tasks),
        [f"task-{task.id}" for task in work.tasks],
    )
    return f"<details><summary>The tasks as a table</summary>{rows}</details>"
