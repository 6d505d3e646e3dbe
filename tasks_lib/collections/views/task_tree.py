"""
Initiatives, phases, tasks and their parts, as a tree.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks_lib.collections._ledger import documents
from tasks_lib.ledger.store.names import short_id
from tasks_lib.output import in_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tasks_lib.collections._work import Standing
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
    """A line of the tree, with what hangs on it."""

    text: str
    data: dict[str, Any]
    below: list[Branch] = field(default_factory=list)


def grown(tx: Transaction, standing: Standing, only: Initiative | None) -> list[Branch]:
    """Return the initiatives, or only one, each with what it is made of; tasks that belong to none come last."""
    tasks = tx.tasks.find_all(initiative_id=only.id) if only else tx.tasks.find_all()
    names = {task.id: task for task in tasks}
    places = defaultdict[tuple[str | None, ...], list["Task"]](list)
    for task in tasks:
        above = names.get(task.parent_task_id or "")
        # A part that is in another phase than the whole is shown there.
        inside = above is not None and above.phase_id == task.phase_id
        places[(task.parent_task_id,) if inside else (task.initiative_id, task.phase_id)].append(task)

    def on_tasks(found: Iterable[Task]) -> list[Branch]:
        return [_on_task(task, standing, names, on_tasks(places[task.id,])) for task in found]

    grown = []
    for initiative in [only] if only else tx.initiatives.find_all():
        phases = []
        for phase in tx.phases.find_by_initiative_id(initiative.id):
            below, before = on_tasks(places[initiative.id, phase.id]), tx.phases.get_dependencies(phase.id)
            after = f", after {', '.join(tx.phases.require(one).name for one in before)}" if before else ""
            data = documents([phase])[0] | {"depends_on": before, "tasks": [branch.data for branch in below]}
            phases.append(Branch(f"{phase.name}  {short_id(phase.id)}  {phase.status}{after}", data, below))
        loose = on_tasks(places[initiative.id, None])
        data = documents([initiative])[0]
        data |= {"phases": [branch.data for branch in phases], "tasks": [branch.data for branch in loose]}
        text = f"{initiative.name}  {short_id(initiative.id)}  {initiative.status}"
        grown.append(Branch(text, data, [*phases, *loose]))
    if alone := on_tasks(places[None, None]):
        grown.append(Branch("(no initiative)", {"id": None, "tasks": [branch.data for branch in alone]}, alone))
    return grown


def drawn(branches: Iterable[Branch]) -> str:
    """Return the tree, cut to the width of the terminal where there is one."""
    lines = [line for branch in branches for line in [branch.text, *_lines(branch.below, "")]]
    if not in_terminal():
        return "\n".join(lines)
    from rich.console import Console
    from rich.text import Text

    width, texts = Console().width, [Text(line) for line in lines]
    for text in texts:
        text.truncate(width, overflow="ellipsis")
    return "\n".join(text.plain for text in texts)


def _on_task(task: Task, standing: Standing, names: dict[str, Task], parts: list[Branch]) -> Branch:
    stands = standing.of(task)
    notes = [f"  held by {holder.name}"] if (holder := standing.holders.get(task.id)) else []
    blockers = [one for blocker in standing.blockers.get(task.id, []) if (one := names.get(blocker))]
    if before := [one.name for one in blockers if one.status != "completed"]:
        notes.append(f"  waits for {', '.join(before)}")
    data = standing.document(task) | {"parts": [part.data for part in parts]}
    return Branch(f"{MARKS[stands]} {task.name}  {short_id(task.id)}{''.join(notes)}", data, parts)


def _lines(branches: Sequence[Branch], indent: str) -> Iterator[str]:
    for number, branch in enumerate(branches, start=1):
        last = number == len(branches)
        yield f"{indent}{'└' if last else '├'} {branch.text}"
        yield from _lines(branch.below, f"{indent}{' ' if last else '│'} ")
