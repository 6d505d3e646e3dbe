"""
Initiatives, phases, tasks and their parts, as a tree.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks_lib.collections.views.rows import row_for_json
from tasks_lib.escaping import escape_line
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import in_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tasks_lib.collections.views.task_states import TaskStates
    from tasks_lib.ledger.ledger import Transaction
    from tasks_lib.ledger.schema.work import Initiative, Task

MARKS = {
    "completed": "✓",
    "in_progress": "▶",
    "ready": "○",
    "waiting": "·",
    "planning": "~",
    "blocked": "✗",
    "lost": "!",
}


@dataclass(frozen=True)
class Branch:
    """A line of the tree and the lines below it, as text and for JSON."""

    text: str
    data: dict[str, Any]
    below: list[Branch] = field(default_factory=list)


def build_tree(tx: Transaction, states: TaskStates, only: Initiative | None) -> list[Branch]:
    """Return a branch for each initiative, or for *only* that one; tasks without an initiative come last."""
    tasks = tx.tasks.find_all(initiative_id=only.id) if only else tx.tasks.find_all()
    by_id = {task.id: task for task in tasks}
    children = defaultdict[tuple[str | None, ...], list["Task"]](list)
    for task in tasks:
        parent = by_id.get(task.parent_task_id or "")
        # A part in another phase than its parent is shown under its own phase.
        below_parent = parent is not None and parent.phase_id == task.phase_id
        children[(task.parent_task_id,) if below_parent else (task.initiative_id, task.phase_id)].append(task)

    def branches(found: Iterable[Task]) -> list[Branch]:
        return [_task_branch(task, states, by_id, branches(children[task.id,])) for task in found]

    tree = []
    for initiative in [only] if only else tx.initiatives.find_all():
        phases = []
        for phase in tx.phases.find_by_initiative_id(initiative.id):
            below, blockers = branches(children[initiative.id, phase.id]), tx.phases.get_dependencies(phase.id)
            after = f", after {', '.join(tx.phases.require(blocker).name for blocker in blockers)}" if blockers else ""
            data = row_for_json(phase) | {"depends_on": blockers, "tasks": [branch.data for branch in below]}
            phases.append(Branch(f"{phase.name}  {short_id(phase.id)}  {phase.status}{after}", data, below))
        loose = branches(children[initiative.id, None])
        data = row_for_json(initiative)
        data |= {"phases": [branch.data for branch in phases], "tasks": [branch.data for branch in loose]}
        text = f"{initiative.name}  {short_id(initiative.id)}  {initiative.status}"
        tree.append(Branch(text, data, [*phases, *loose]))
    if alone := branches(children[None, None]):
        tree.append(Branch("(no initiative)", {"id": None, "tasks": [branch.data for branch in alone]}, alone))
    return tree


def render_tree(branches: Iterable[Branch]) -> str:
    """Return the tree as text; in a terminal, lines are cut to its width."""
    lines = [escape_line(line) for branch in branches for line in [branch.text, *_lines(branch.below, "")]]
    if not in_terminal():
        return "\n".join(lines)
    from rich.console import Console
    from rich.text import Text

    width, texts = Console().width, [Text(line) for line in lines]
    for text in texts:
        text.truncate(width, overflow="ellipsis")
    return "\n".join(text.plain for text in texts)


def _task_branch(task: Task, states: TaskStates, by_id: dict[str, Task], parts: list[Branch]) -> Branch:
    notes = [f"  held by {holder.name}"] if (holder := states.holders.get(task.id)) else []
    blockers = [by_id[blocker] for blocker in states.blockers.get(task.id, []) if blocker in by_id]
    if unfinished := [blocker.name for blocker in blockers if blocker.status != "completed"]:
        notes.append(f"  waits for {', '.join(unfinished)}")
    data = states.for_json(task) | {"parts": [part.data for part in parts]}
    return Branch(f"{MARKS[states.state(task)]} {task.name}  {short_id(task.id)}{''.join(notes)}", data, parts)


def _lines(branches: Sequence[Branch], indent: str) -> Iterator[str]:
    for number, branch in enumerate(branches, start=1):
        last = number == len(branches)
        yield f"{indent}{'└' if last else '├'} {branch.text}"
        yield from _lines(branch.below, f"{indent}{' ' if last else '│'} ")
