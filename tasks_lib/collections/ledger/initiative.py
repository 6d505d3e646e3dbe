"""Initiatives: goals, usually features, with their phases, tasks and projects."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks_lib.collections._arguments import split_commas
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, OptionalPositional, task
from tasks_lib.collections.views.results import preview
from tasks_lib.collections.views.rows import row_for_json, rows_for_json
from tasks_lib.errors import ConflictError, LedgerError
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import format_pairs, format_table
from tasks_lib.program_name import name_program
from tasks_lib.workflows.ledger_access import ledger_of

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.ledger.ledger import Transaction

_INITIATIVE_HELP = "The initiative's id, or its beginning."
_PROJECTS_HELP = "by name or id, separated by commas"


@task(
    help={
        "name": "The goal, in a few words.",
        "branch": "The branch that its work is merged into.",
        "project": f"The projects that it changes, {_PROJECTS_HELP}.",
    },
    returns="*initiative* and `{projects: [project]}`",
)
def add(c: Context, name: str, branch: str = "", project_: str = "", json: bool = False) -> Answer:
    """
    Add an initiative
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"add the initiative `{name}`"])
    with ledger_of(project).write() as tx:
        added = tx.initiatives.create(name=name, branch=branch or None)
        if project_:
            tx.projects.set_initiative_projects(added.id, _find_project_ids(tx, project_))
        on = tx.projects.find_projects_by_initiative_id(added.id)
    rows = [("initiative", f"{short_id(added.id)}  {added.name}"), *(("project", project.name) for project in on)]
    return Answer({**row_for_json(added), "projects": rows_for_json(on)}, format_pairs(rows))


@task(reads=True, name="list", default=True, returns="`[initiative and {phases, tasks, completed}]`")
def list_(c: Context, json: bool = False) -> Answer:
    """
    List the initiatives: status, phases, completed and total tasks
    """
    with ledger_of(current_project(looks=True)).read() as tx:
        found, tasks, phases = tx.initiatives.find_all(), tx.tasks.find_all(), tx.phases.find_all()
    if not found:
        return Answer([], name_program("no initiatives; add one with inv initiative.add NAME"))
    data, rows = rows_for_json(found), []
    for initiative, row in zip(found, data, strict=True):
        mine = [task for task in tasks if task.initiative_id == initiative.id]
        done = sum(task.status == "completed" for task in mine)
        stages = sum(phase.initiative_id == initiative.id for phase in phases)
        row |= {"phases": stages, "tasks": len(mine), "completed": done}
        rows.append(
            (
                short_id(initiative.id),
                initiative.status,
                str(stages),
                f"{done} of {len(mine)}",
                initiative.branch or "-",
                initiative.name,
            )
        )
    headings = ("ID", "STATUS", "PHASES", "DONE", "BRANCH", "NAME")
    return Answer(data, format_table(headings, rows, spare=("BRANCH", "PHASES", "DONE")))


@task(
    help={
        "initiative": _INITIATIVE_HELP,
        "name": "The goal, in a few words.",
        "status": "active, pending_review, completed or archived.",
        "branch": "The branch that its work is merged into.",
    },
    returns="the *row*: `{id, …}`",
)
def update(
    c: Context, initiative: str, name: str = "", status: str = "", branch: str = "", json: bool = False
) -> Answer:
    """
    Change an initiative
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"change {initiative}"])
    fields = {key: value for key, value in (("name", name), ("status", status), ("branch", branch)) if value}
    if not fields:
        raise LedgerError("nothing to change", hint="inv --help initiative.update")
    with ledger_of(project).write() as tx:
        changed = tx.initiatives.update(tx.initiatives.named(initiative).id, **fields)
    return Answer(row_for_json(changed), f"changed {short_id(changed.id)}  {changed.name} ({changed.status})")


@task(
    help={"initiative": _INITIATIVE_HELP, "force": "Delete it although tasks of it are unfinished."},
    returns="`{id, ready: [task]}`; `ready` lists the tasks that became ready; an initiative has none",
)
def delete(c: Context, initiative: str, force: bool = False, json: bool = False) -> Answer:
    """
    Delete an initiative with its phases, tasks, pages and chats
    """
    from tasks_lib.ledger.work.deletion import require_finished

    project = current_project()
    if c.config.run.dry:
        return preview([f"delete {initiative}"])
    with ledger_of(project).write() as tx:
        found = tx.initiatives.named(initiative)
        tasks = tx.tasks.find_all(initiative_id=found.id)
        require_finished(tasks, f"initiative `{found.name}`", force=force)
        tx.initiatives.delete(found.id)
    return Answer({"id": found.id}, f"deleted {short_id(found.id)}  {found.name}")


@task(
    help={
        "name": "The project's name.",
        "url": "The URL to clone from.",
        "default-branch": "`main` when not given.",
    },
    returns="the *row*: `{id, …}`",
)
def add_project(c: Context, name: str, url: str, default_branch: str = "main", json: bool = False) -> Answer:
    """
    Add a git repository that initiatives work on
    """
    project = current_project()
    if c.config.run.dry:
        return preview([f"add the project `{name}`"])
    if _has_secret(url):
        raise LedgerError("the URL holds a password or token", why="everyone who reads the ledger would see it")
    with ledger_of(project).write() as tx:
        taken = [project for project in tx.projects.find_all() if project.name == name or project.url == url]
        if taken:
            raise ConflictError(f"project `{taken[0].name}` exists already", why=f"its URL is {taken[0].url}")
        added = tx.projects.create(name=name, url=url, default_branch=default_branch)
    return Answer(
        row_for_json(added), format_pairs([("project", f"{short_id(added.id)}  {added.name}"), ("url", added.url)])
    )


@task(
    klass=OptionalPositional,
    help={
        "initiative": f"{_INITIATIVE_HELP} All projects when not given.",
        "set": f"Make these its projects, {_PROJECTS_HELP}; an empty list removes them all.",
    },
    returns="`[project]`",
)
def projects(c: Context, initiative: str = "", set_: str | None = None, json: bool = False) -> Answer:
    """
    List the projects, or list or --set those of an initiative
    """
    project = current_project()
    if set_ is None:
        with ledger_of(project).read() as tx:
            goal = tx.initiatives.named(initiative) if initiative else None
            found = tx.projects.find_projects_by_initiative_id(goal.id) if goal else tx.projects.find_all()
    elif c.config.run.dry:
        return preview([f"make `{set_}` the projects of {initiative}"])
    else:
        with ledger_of(project).write() as tx:
            goal = tx.initiatives.named(initiative)
            tx.projects.set_initiative_projects(goal.id, _find_project_ids(tx, set_))
            found = tx.projects.find_projects_by_initiative_id(goal.id)
    if not found:
        return Answer([], name_program("no projects; add one with inv initiative.add-project NAME URL"))
    rows = [(short_id(project.id), project.name, project.default_branch, project.url) for project in found]
    return Answer(rows_for_json(found), format_table(("ID", "NAME", "BRANCH", "URL"), rows, spare=("BRANCH",)))


def _has_secret(url: str) -> bool:
    """Whether *url* contains a password, or over HTTP a user name, which may be a token."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise LedgerError("the URL cannot be parsed", why="it is not shown because it may hold a password") from None
    return bool(parts.password or (parts.username and parts.scheme in ("http", "https")))


def _find_project_ids(tx: Transaction, text: str) -> list[str]:
    """Return the ids of the projects listed in *text* by name or id, separated by commas."""
    ids = {project.name: project.id for project in tx.projects.find_all()}
    return [ids.get(word) or tx.projects.named(word).id for word in split_commas(text)]
