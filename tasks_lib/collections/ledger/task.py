"""The work queue: tasks with dependencies, each claimed by one agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_lib.collections._arguments import AS_HELP, NOTHING_READY, positive_int, read_text, split_commas
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, OptionalPositional, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import ready_pairs, row_for_json, rows_for_json
from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import Narrator, format_pairs, format_table
from tasks_lib.program_name import name_program
from tasks_lib.workflows.ledger_access import current_agent, ledger_of, release_lost_tasks, resolve_actor, task_or_held

if TYPE_CHECKING:
    from invoke.context import Context

_TASK_HELP = "The task's id, or its beginning."
_ACTOR_HELP = f"{AS_HELP} `user` is a person, who may finish any task."
_CATEGORIES = "execute, verify, merge or review; research, discuss, plan, detail and refine cannot be claimed."
_DESCRIPTION_HELP = "Everything an agent must know; `-` reads standard input."


@task(
    help={
        "name": "The work, in a few words.",
        "description": _DESCRIPTION_HELP,
        "initiative": "Its initiative; that of its phase, parent or dependencies when not given.",
        "phase": "Its phase.",
        "parent": "The task it is a part of; a parent does not wait for its parts.",
        "priority": "high, medium or low; medium when not given.",
        "category": f"{_CATEGORIES} execute when not given.",
        "order": "Its position among tasks of the same priority, from 1; tasks without one come first.",
        "depends": "The tasks it waits for: ids or their beginnings, separated by commas.",
    },
    returns=(
        "*task* and `{depends_on: [id]}`; a *task*, as every *row* below, has the columns of its table "
        "(`tasks_lib/ledger/schema`): `{id, name, status, …, created_at, updated_at}`"
    ),
)
def add(
    c: Context,
    name: str,
    description: str = "",
    initiative: str = "",
    phase: str = "",
    parent: str = "",
    priority: str = "",
    category: str = "",
    order: str = "",
    depends: str = "",
    json: bool = False,
) -> Answer:
    """
    Add a task and its dependencies

    Adds the task with all its dependencies, or nothing.
    """
    from tasks_lib.ledger.work import queue

    project = current_project()
    if c.config.run.dry:
        return preview([f"add the task `{name}`"])
    fields: dict[str, Any] = {
        "name": name,
        "order": positive_int(order, "--order") or 0,
        "description": read_text(description) or None,
    }
    fields |= {key: value for key, value in (("priority", priority), ("category", category)) if value}
    with ledger_of(project).write() as tx:
        before = [tx.tasks.named(word) for word in split_commas(depends)]
        if phase:
            fields["phase_id"] = tx.phases.named(phase).id
        if parent:
            fields["parent_task_id"] = tx.tasks.named(parent).id
        if initiative:
            fields["initiative_id"] = tx.initiatives.named(initiative).id
        elif before and not phase and not parent:
            fields["initiative_id"] = before[0].initiative_id
        added = tx.tasks.create(**fields)
        for blocker in before:
            tx.tasks.create_dependency(added.id, blocker.id)
        standing = queue.obstacle(tx, added) or "ready"
    rows = [("task", f"{short_id(added.id)}  {added.name}"), ("now", standing)]
    return Answer({**row_for_json(added), "depends_on": [blocker.id for blocker in before]}, format_pairs(rows))


@task(
    help={"task": _TASK_HELP, "blocker": "The task to complete first."},
    returns="`{task or phase, depends_on}`; a task `in_progress` may get one, too: its holder continues",
)
def depends(c: Context, task: str, blocker: str, json: bool = False) -> Answer:
    """
    Make a task wait for another task

    Refuses a dependency that would close a cycle, and shows the cycle. A task that
    is in progress stays so: its holder is not interrupted.
    """
    from tasks_lib.ledger.schema.work import TaskStatus
    from tasks_lib.ledger.work import queue

    project, narrator = current_project(), Narrator()
    if c.config.run.dry:
        return preview([f"make {task} wait for {blocker}"])
    with ledger_of(project).write() as tx:
        waiting, before = tx.tasks.named(task), tx.tasks.named(blocker)
        tx.tasks.create_dependency(waiting.id, before.id)
        holder = queue.holder_of(tx, waiting.id)
    started = waiting.status is TaskStatus.IN_PROGRESS and before.status is not TaskStatus.COMPLETED
    if started:
        who = f"{holder.name} works on it" if holder else "its holder is gone"
        narrator.say(f"warning: `{waiting.name}` is in progress already, {who}")
    data = {"task": waiting.id, "depends_on": before.id, "in_progress": started}
    return Answer(data, f"{waiting.name} waits for {before.name}")


@task(reads=True, help={"limit": "The most tasks to list; all when not given."}, returns="`[task]`")
def ready(c: Context, limit: str = "", json: bool = False) -> Answer:
    """
    List the tasks that can be claimed, in the order of the queue

    Sorted by priority, then order, then age.
    """
    from tasks_lib.ledger.work import queue

    with ledger_of(current_project(looks=True)).read() as tx:
        found = queue.ready(tx, positive_int(limit, "--limit"))
    if not found:
        return Answer([], name_program("nothing is ready; see inv task.list"))
    rows = [(short_id(task.id), task.priority, task.category, task.name) for task in found]
    return Answer(
        rows_for_json(found), format_table(("ID", "PRIORITY", "CATEGORY", "NAME"), rows, spare=("CATEGORY", "PRIORITY"))
    )


@task(
    klass=OptionalPositional,
    help={"task": f"{_TASK_HELP} The first ready task when not given.", "as": AS_HELP},
    returns=(
        "`{task or null, again, agent, builds_on: [{id, name, summary}], queue: counts or null, released: [task]}`"
    ),
)
def claim(c: Context, task: str = "", as_: str = "", json: bool = False) -> Answer:
    """
    Claim a task and print everything needed to work on it

    That is its description and the summaries of the tasks it waited for. Asking
    again prints the same task until it is done. First, tasks of agents that were
    stopped, or whose process (`agent.register --pid`) has died, go back into the
    queue. Exit status 3 when nothing is ready.
    """
    from tasks_lib.collections.views.claimed_task import format_claim
    from tasks_lib.ledger.work import queue

    project, narrator = current_project(), Narrator()
    if c.config.run.dry:
        return preview([f"claim {task or 'the first ready task'}"])
    ledger = ledger_of(project)
    released = release_lost_tasks(ledger, narrator)
    with ledger.write() as tx:
        me = current_agent(tx, project, as_)
        claimed = queue.claim(tx, tx.tasks.named(task).id, me.id) if task else queue.claim_next(tx, me.id)
        data, text = format_claim(tx, me, claimed)
    return Answer(
        {**data, "released": rows_for_json(released)}, text, ok=data["task"] is not None, status=NOTHING_READY
    )


@task(
    klass=OptionalPositional,
    help={
        "task": f"{_TASK_HELP} The task that you hold when not given.",
        "summary": "The outcome, for tasks that build on it; `-` reads standard input.",
        "claim": "Then claim the next task, as `task.claim` does.",
        "as": _ACTOR_HELP,
    },
    returns="`{task, ready: [task], claimed: as task.claim or null, released: [task]}`",
)
def done(
    c: Context, task: str = "", summary: str = "", claim: bool = False, as_: str = "", json: bool = False
) -> Answer:
    """
    Finish a task, and print the tasks that became ready

    Only its holder can finish it, or a person with `--as user`. With --claim, exit
    status 3 means that nothing is ready; the task is finished all the same.
    """
    from tasks_lib.collections.views.claimed_task import format_claim
    from tasks_lib.ledger.work import queue

    project, narrator = current_project(), Narrator()
    if c.config.run.dry:
        return preview([f"finish {task or 'the task that you hold'}"])
    ledger, said = ledger_of(project), read_text(summary)
    released = release_lost_tasks(ledger, narrator) if claim else []
    with ledger.write() as tx:
        me = resolve_actor(tx, project, as_)
        mine = task_or_held(tx, me, task)
        freed = queue.complete(tx, mine.id, said or None, me.id if me else None)
        finished = tx.tasks.require(mine.id)
        claimed, next_ = None, ""
        if claim:
            claimer = current_agent(tx, project, as_)
            claimed, next_ = format_claim(tx, claimer, queue.claim_next(tx, claimer.id))
    data = {
        "task": row_for_json(finished),
        "ready": rows_for_json(freed),
        "claimed": claimed,
        "released": rows_for_json(released),
    }
    text = format_pairs([("done", f"{short_id(finished.id)}  {finished.name}"), *ready_pairs(freed)])
    ok = claimed is None or claimed["task"] is not None
    return Answer(data, f"{text}\n\n{next_}".rstrip(), ok=ok, status=NOTHING_READY)


@task(
    klass=OptionalPositional,
    help={
        "task": f"{_TASK_HELP} The task that you hold when not given.",
        "reason": "The reason, for the next agent that tries; `-` reads standard input.",
        "block": "Block it until `task.retry` puts it back into the queue.",
        "as": _ACTOR_HELP,
    },
    returns="*task*: `{id, …}`",
)
def fail(
    c: Context, task: str = "", reason: str = "", block: bool = False, as_: str = "", json: bool = False
) -> Answer:
    """
    Return a task to the queue; block it after the fourth failure

    Only its holder can, or a person with `--as user`. The reason is stored as the
    task's summary and shown to the next agent that claims it.
    """
    from tasks_lib.ledger.work import queue

    project = current_project()
    if c.config.run.dry:
        return preview([f"return {task or 'the task that you hold'}"])
    said = read_text(reason)
    with ledger_of(project).write() as tx:
        me = resolve_actor(tx, project, as_)
        failed = queue.fail(tx, task_or_held(tx, me, task).id, said or None, me.id if me else None, block=block)
    times = f"lost or failed {failed.retry_count} time{'s' if failed.retry_count > 1 else ''}"
    return Answer(row_for_json(failed), f"{failed.name} is {failed.status}, {times}")


@task(help={"task": _TASK_HELP}, returns="*task*: `{id, …}`")
def retry(c: Context, task: str, json: bool = False) -> Answer:
    """
    Put a blocked task back into the queue, as if it had never failed
    """
    from tasks_lib.ledger.work import queue

    project = current_project()
    if c.config.run.dry:
        return preview([f"retry {task}"])
    with ledger_of(project).write() as tx:
        found = queue.retry(tx, tx.tasks.named(task).id)
    return Answer(row_for_json(found), f"{found.name} is {found.status} again")


@task(
    reads=True,
    name="list",
    default=True,
    help={
        "status": "Only tasks with this status: pending, in_progress, completed or blocked.",
        "phase": "Only tasks of this phase.",
        "initiative": "Only tasks of this initiative.",
    },
    returns=(
        "`[task and {standing, holder, depends_on}]`; `standing` is `ready`, `waiting`, `planning`, "
        "`lost`, or the status"
    ),
)
def list_(c: Context, status: str = "", phase: str = "", initiative: str = "", json: bool = False) -> Answer:
    """
    List the tasks with their states

    A pending task is ready, waiting (for a task or a phase) or planning, which
    cannot be claimed. The holder of a `lost` task is gone: the next `task.claim`
    puts it back into the queue.
    """
    from tasks_lib.collections.views.task_states import TaskStates

    with ledger_of(current_project(looks=True)).read() as tx:
        wanted: dict[str, str] = {"status": status} if status else {}
        if phase:
            wanted["phase_id"] = tx.phases.named(phase).id
        if initiative:
            wanted["initiative_id"] = tx.initiatives.named(initiative).id
        found, states = tx.tasks.find_all(**wanted), TaskStates(tx)
    if not found:
        return Answer([], "no such tasks" if wanted else name_program("no tasks; add one with inv task.add NAME"))
    rows = []
    for entry in found:
        holder = states.holders.get(entry.id)
        rows.append(
            (short_id(entry.id), states.state(entry), entry.priority, holder.name if holder else "-", entry.name)
        )
    text = format_table(("ID", "STATE", "PRIORITY", "HOLDER", "NAME"), rows, spare=("PRIORITY", "HOLDER"))
    return Answer([states.for_json(entry) for entry in found], text)


@task(
    reads=True,
    help={"task": _TASK_HELP},
    returns=(
        "a row of `task.list` and `{obstacle, last_holder, waits_for: [task], awaited_by: [task], parts: [task]}`"
    ),
)
def show(c: Context, task: str, json: bool = False) -> Answer:
    """
    Show a task with its holder, blockers and dependents
    """
    from tasks_lib.collections.views.task_details import show_task

    with ledger_of(current_project(looks=True)).read() as tx:
        return show_task(tx, tx.tasks.named(task))


@task(
    reads=True,
    klass=OptionalPositional,
    help={"initiative": "Only this initiative: its id, or its beginning."},
    returns="`[{…row, children: […]}]`",
)
def tree(c: Context, initiative: str = "", json: bool = False) -> Answer:
    """
    Show initiatives, phases and tasks as a tree

    ✓ completed, ▶ in progress, ○ ready, · waiting, ~ planning, ✗ blocked, ! lost.
    """
    from tasks_lib.collections.views import task_tree
    from tasks_lib.collections.views.task_states import TaskStates

    with ledger_of(current_project(looks=True)).read() as tx:
        only = tx.initiatives.named(initiative) if initiative else None
        branches = task_tree.build_tree(tx, TaskStates(tx), only)
    if not branches:
        return Answer([], name_program("no initiatives and no tasks; add a task with inv task.add NAME"))
    return Answer([branch.data for branch in branches], task_tree.render_tree(branches))


@task(
    help={
        "task": _TASK_HELP,
        "name": "The work, in a few words.",
        "description": f"{_DESCRIPTION_HELP} An empty text removes it.",
        "priority": "high, medium or low.",
        "order": "Its place among tasks of the same priority.",
        "category": _CATEGORIES,
        "phase": "Another phase of its initiative.",
    },
    returns="*task*: `{id, …}`",
)
def update(
    c: Context,
    task: str,
    name: str = "",
    description: str | None = None,
    priority: str = "",
    order: str = "",
    category: str = "",
    phase: str = "",
    json: bool = False,
) -> Answer:
    """
    Change what is said of a task

    Its status changes by `task.claim`, `done`, `fail` and `retry` only.
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"change {task}"])
    fields: dict[str, Any] = {
        "name": name,
        "priority": priority,
        "category": category,
        "order": positive_int(order, "--order"),
    }
    fields = {key: value for key, value in fields.items() if value}
    if description is not None:
        fields["description"] = read_text(description) or None
    with ledger_of(project).write() as tx:
        found = tx.tasks.named(task)
        if phase:
            to = tx.phases.named(phase)
            if to.initiative_id != found.initiative_id:
                raise ConflictError(f"phase `{to.name}` belongs to another initiative than task `{found.name}`")
            fields["phase_id"] = to.id
        if not fields:
            raise LedgerError("nothing to change", hint="inv --help task.update")
        changed = tx.tasks.update(found.id, **fields)
    return Answer(row_for_json(changed), f"changed {short_id(changed.id)}  {changed.name}")


@task(
    help={
        "task": _TASK_HELP,
        "force": "Delete it although it is in progress, or others wait for it and become ready.",
    },
    returns="`{id, ready: [task]}`; `ready` lists the tasks that became ready; an initiative has none",
)
def delete(c: Context, task: str, force: bool = False, json: bool = False) -> Answer:
    """
    Delete a task with its parts, and print the tasks that became ready
    """
    from tasks_lib.ledger.work.deletion import delete_task

    project = current_project()
    if c.config.run.dry:
        return preview([f"delete {task}"])
    with ledger_of(project).write() as tx:
        found = tx.tasks.named(task)
        freed = delete_task(tx, found.id, force=force)
    rows = [("deleted", f"{short_id(found.id)}  {found.name}"), *ready_pairs(freed)]
    return Answer({"id": found.id, "ready": rows_for_json(freed)}, format_pairs(rows))
