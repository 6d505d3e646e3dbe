"""Phases of an initiative; each is approved and merged as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections._arguments import read_text, split_commas
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, OptionalPositional, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import ready_pairs, row_for_json, rows_for_json
from tasks_lib.errors import LedgerError
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import format_pairs, format_table
from tasks_lib.program_name import name_program
from tasks_lib.workflows.ledger_access import ledger_of

if TYPE_CHECKING:
    from invoke.context import Context

_PHASE_HELP = "The phase's id, or its beginning."


@task(
    help={
        "name": "The phase's name.",
        "initiative": "The initiative's id, or its beginning.",
        "content": "The description; `-` reads standard input.",
        "depends": "The phases it waits for: ids or their beginnings, separated by commas.",
    },
    returns="*phase* and `{depends_on: [id]}`",
)
def add(c: Context, name: str, initiative: str, content: str = "", depends: str = "", json: bool = False) -> Answer:
    """
    Add a phase to an initiative

    Its tasks can be claimed once it is approved: `phase.update --status approved`.
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"add the phase `{name}`"])
    text = read_text(content) or None
    with ledger_of(project).write() as tx:
        goal = tx.initiatives.named(initiative)
        added = tx.phases.create(name=name, initiative_id=goal.id, content=text)
        before = [tx.phases.named(word) for word in split_commas(depends)]
        for blocker in before:
            tx.phases.create_dependency(added.id, blocker.id)
    rows = [("phase", f"{short_id(added.id)}  {added.name}"), ("of", goal.name)]
    rows += [("waits for", blocker.name) for blocker in before]
    return Answer({**row_for_json(added), "depends_on": [blocker.id for blocker in before]}, format_pairs(rows))


@task(
    reads=True,
    name="list",
    default=True,
    klass=OptionalPositional,
    help={"initiative": "Only the phases of this one."},
    returns="`[phase and {tasks, completed, depends_on}]`",
)
def list_(c: Context, initiative: str = "", json: bool = False) -> Answer:
    """
    List the phases: status, completed and total tasks
    """
    with ledger_of(current_project(looks=True)).read() as tx:
        goal = tx.initiatives.named(initiative) if initiative else None
        found = tx.phases.find_by_initiative_id(goal.id) if goal else tx.phases.find_all()
        tasks = {phase.id: tx.tasks.find_by_phase_id(phase.id) for phase in found}
        before = {phase.id: tx.phases.get_dependencies(phase.id) for phase in found}
    if not found:
        return Answer([], name_program("no phases; add one with inv phase.add NAME INITIATIVE"))
    data, rows = rows_for_json(found), []
    for phase, row in zip(found, data, strict=True):
        done = sum(task.status == "completed" for task in tasks[phase.id])
        row |= {"tasks": len(tasks[phase.id]), "completed": done, "depends_on": before[phase.id]}
        after = ", ".join(short_id(blocker) for blocker in before[phase.id])
        rows.append((short_id(phase.id), phase.status, f"{done} of {len(tasks[phase.id])}", after or "-", phase.name))
    return Answer(data, format_table(("ID", "STATUS", "DONE", "AFTER", "NAME"), rows, spare=("AFTER", "DONE")))


@task(
    help={"phase": _PHASE_HELP, "blocker": "The phase to complete first."},
    returns="`{task or phase, depends_on}`; a task `in_progress` may get one, too: its holder continues",
)
def depends(c: Context, phase: str, blocker: str, json: bool = False) -> Answer:
    """
    Make a phase wait for another phase of its initiative
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"make {phase} wait for {blocker}"])
    with ledger_of(project).write() as tx:
        waiting, before = tx.phases.named(phase), tx.phases.named(blocker)
        tx.phases.create_dependency(waiting.id, before.id)
    return Answer({"phase": waiting.id, "depends_on": before.id}, f"{waiting.name} waits for {before.name}")


@task(
    help={
        "phase": _PHASE_HELP,
        "status": "pending, approved, in_progress, completed, blocked or pending_review.",
        "name": "The phase's name.",
        "content": "The description; `-` reads standard input, an empty text removes it.",
        "merge-base": "The merge base of its branch and the default branch before the merge.",
    },
    returns="*phase* and `{ready: [task]}`",
)
def update(
    c: Context,
    phase: str,
    status: str = "",
    name: str = "",
    content: str | None = None,
    merge_base: str = "",
    json: bool = False,
) -> Answer:
    """
    Change a phase, and print the tasks that became ready

    Tasks can be claimed while their phase is approved or in_progress and all
    phases that it waits for are completed.
    """
    from tasks_lib.ledger.work import queue

    project = current_project()
    if c.config.run.dry:
        return preview([f"change {phase}"])
    fields: dict[str, Any] = {"status": status, "name": name, "merge_base": merge_base}
    fields = {key: value for key, value in fields.items() if value}
    if content is not None:
        fields["content"] = read_text(content) or None
    if not fields:
        raise LedgerError("nothing to change", hint="inv --help phase.update")
    with ledger_of(project).write() as tx, queue.becoming_ready(tx) as freed:
        changed = tx.phases.update(tx.phases.named(phase).id, **fields)
    rows = [("phase", f"{short_id(changed.id)}  {changed.name} ({changed.status})"), *ready_pairs(freed)]
    return Answer({**row_for_json(changed), "ready": rows_for_json(freed)}, format_pairs(rows))


@task(
    help={"phase": _PHASE_HELP, "force": "Delete it although its tasks are unfinished or other phases wait for it."},
    returns="`{id, ready: [task]}`; `ready` lists the tasks that became ready; an initiative has none",
)
def delete(c: Context, phase: str, force: bool = False, json: bool = False) -> Answer:
    """
    Delete a phase with its tasks, and print the tasks that became ready
    """
    from tasks_lib.ledger.work.deletion import delete_phase, require_finished

    project = current_project()
    if c.config.run.dry:
        return preview([f"delete {phase}"])
    with ledger_of(project).write() as tx:
        found = tx.phases.named(phase)
        require_finished(tx.tasks.find_by_phase_id(found.id), f"phase `{found.name}`", force=force)
        freed = delete_phase(tx, found.id, force=force)
    rows = [("deleted", f"{short_id(found.id)}  {found.name}"), *ready_pairs(freed)]
    return Answer({"id": found.id, "ready": rows_for_json(freed)}, format_pairs(rows))
