"""A worktree with its own database, env file and port for every branch."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.collections._project import current_project
from tasks_lib.collections._setup import set_up
from tasks_lib.collections._task import Answer, OptionalPositional, PositionalUnlessPullRequest, task
from tasks_lib.collections.views.results import CLONE_HELP, WORKTREE, preview, report, report_collected, report_removal
from tasks_lib.errors import WorktreeError
from tasks_lib.output import Narrator, in_terminal, show_while
from tasks_lib.workflows.ledger_access import stop_orphaned_agents

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

_BRANCH_HELP = "The branch, its slug, or the worktree's path."


@task(
    aliases=["up"],
    klass=PositionalUnlessPullRequest,
    help={
        "branch": "The branch to work on; created if it does not exist. By default that of --pr.",
        "base": "What a new branch starts from; by default the remote's branch of that name, else `worktree.base`.",
        "pr": "The number of a pull or merge request to check out, as the new branch pr-NUMBER.",
        "fetch": "Fetch all remotes first.",
        "path": "Where to put the worktree; by default ../<repo>-<branch>.",
        "no-db": "Do not create the database; `inv worktree.setup` adds it later.",
        **CLONE_HELP,
    },
    returns=WORKTREE,
)
def create(
    c: Context,
    branch: str = "",
    base: str = "",
    pr: str = "",
    fetch: bool = False,
    path: str = "",
    no_db: bool = False,
    fresh: bool = False,
    evict: bool = False,
    json: bool = False,
) -> Answer:
    """
    Create a worktree with its own database, env file and port

    Checks out BRANCH beside the main worktree while it clones the golden template,
    writes the clone's URL to the env file, then runs the branch's migrations and
    code generation. A failure or Ctrl-C undoes what this call did; if the call is
    killed, run it again to finish.
    """
    from tasks_lib.worktrees.plans.create import plan_create

    project, narrator = current_project(), Narrator()
    options = None if no_db else project.clone_options(fresh=fresh, evict_idle=evict)
    dry = bool(c.config.run.dry)
    with plan_create(
        project, branch, narrator, base=base, path=path, pull_request=pr, fetch=fetch, dry=dry, options=options
    ) as planned:
        if dry:
            fetched = ["fetch all remotes (this preview is as of the last fetch)"] if fetch else []
            return preview([*fetched, *planned.preview()])
        ran = planned.run(narrator)
        return report(project.registry.require(planned.subject.slug), Path(planned.subject.path), ran)


@task(
    help=CLONE_HELP,
    returns=WORKTREE,
)
def db(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Give this worktree its database: clone, env file, migrate, generate

    For any linked worktree, including one that another tool created. A complete
    clone is kept.
    """
    return set_up(c, fresh=fresh, evict=evict, database_only=True)


@task(
    name="setup",
    help=CLONE_HELP,
    returns=WORKTREE,
)
def setup_(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Set up this worktree, which another tool created

    Does all that `worktree.create` does except the checkout, in a worktree created
    by Conductor, an editor or plain git. A second call does only what is missing,
    and keeps an existing database.
    """
    return set_up(c, fresh=fresh, evict=evict)


@task(
    aliases=["down"],
    help={
        "branch": _BRANCH_HELP,
        "force": "Remove it with uncommitted or unmerged work; `inv worktree.undo` restores it.",
        "keep-branch": "Keep the branch.",
    },
    returns=(
        "`{path, branch, commit, saved, kept: [{name, bytes}], lost: [{name, bytes}], databases, parked, "
        "removed}`; `databases` is `parked`, `absent`, "
        "or `pending` while the server is down (then `worktree.remove` has status 1); `{databases: "
        '"absent"}` if nothing was set up; `branch` is the deleted one, or null'
    ),
)
def remove(c: Context, branch: str, force: bool = False, keep_branch: bool = False, json: bool = False) -> Answer:
    """
    Remove a worktree and its branch, park its databases

    Refuses if uncommitted, unmerged or unpushed work would be lost. Ends processes
    that run in the worktree, and stops its agents in the ledger.
    `inv worktree.undo` restores it until `inv worktree.gc --yes` deletes it.
    """
    from tasks_lib.worktrees.plans.remove import plan_remove

    project, narrator = current_project(), Narrator()
    with plan_remove(project, branch, narrator, force=force, keep_branch=keep_branch) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        planned.run(narrator)
    stop_orphaned_agents(project, narrator)
    return report_removal(planned.subject)


@task(
    returns=(
        "`{path, branch, commit, saved, kept: [{name, bytes}], lost: [{name, bytes}], databases, parked, "
        "removed}`; `databases` is `parked`, `absent`, "
        "or `pending` while the server is down (then `worktree.remove` has status 1); `{databases: "
        '"absent"}` if nothing was set up; `branch` is the deleted one, or null'
    )
)
def teardown(c: Context, json: bool = False) -> Answer:
    """
    Park this worktree's databases before another tool removes it

    For hooks such as Conductor's archive. Does nothing in a worktree that was never
    set up. If the server is down, `inv worktree.gc` finishes later.
    """
    from tasks_lib.worktrees.plans.teardown import plan_teardown

    project, narrator = current_project(), Narrator()
    with plan_teardown(project, narrator) as planned:
        if planned is None:
            return Answer({"databases": "absent"}, "nothing to tear down: this worktree has no databases")
        if c.config.run.dry:
            return preview(planned.preview())
        planned.run(narrator)
    stop_orphaned_agents(project, narrator)
    return report_removal(planned.subject)


@task(
    klass=OptionalPositional,
    help={
        "branch": "Its branch, slug or former path; by default the last one removed.",
        "path": "Where to put the worktree; by default where it was.",
    },
    returns="*worktree*; `{branch, path}` for a worktree that another tool made",
)
def undo(c: Context, branch: str = "", path: str = "", json: bool = False) -> Answer:
    """
    Restore a removed worktree: branch, databases, uncommitted work

    Also restores databases that `worktree.teardown` and `db.reset` parked, and the
    ignored files that the removal kept.
    """
    from tasks_lib.worktrees.plans.undo import plan_undo

    project, narrator = current_project(), Narrator()
    with plan_undo(project, branch, narrator, path=path) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        ran = planned.run(narrator)
    removal, target = planned.subject.removal, planned.subject.path
    record = project.registry.find(removal.slug)
    if record is None:
        return Answer({"branch": removal.branch, "path": target}, f"worktree  {target}")
    return report(record, target, ran)


@task(
    help={"yes": "Delete them; without it, only list them."},
    returns=(
        "`[{kind, name, bytes, reason, outcome, why}]`; without `--yes` the `outcome` is `candidate` or "
        "`kept`, with it `dropped`, `parked`, `deleted`, `forgotten`, `pending` or `kept`"
    ),
)
def gc(c: Context, yes: bool = False, json: bool = False) -> Answer:
    """
    Delete orphaned worktrees, records and databases

    Removes worktrees that were deleted by hand, which can be undone. Drops databases
    parked longer ago than WORKTREE_KEEP_REMOVED, and leftovers of killed processes.
    Prints the reason for each; without --yes, changes nothing.
    """
    from tasks_lib.worktrees.plans.gc import Collected, collect
    from tasks_lib.worktrees.reports.orphans import find_orphans

    looks = not yes or c.config.run.dry
    project, narrator = current_project(looks=looks), Narrator()
    orphans = find_orphans(project)
    if looks:
        return report_collected([Collected(orphan, "candidate" if orphan.action else "kept") for orphan in orphans])
    collected = collect(project, orphans, narrator)
    stop_orphaned_agents(project, narrator)
    return report_collected(collected)


@task(help={"branch": _BRANCH_HELP}, returns="`[{pid, name, cwd, signal}]`: the processes that were ended")
def stop(c: Context, branch: str, json: bool = False) -> Answer:
    """
    End the processes whose working directory is in a worktree

    Sends TERM, then KILL after two seconds. Never ends the processes that run this
    command, such as your shell.
    """
    from tasks_lib.worktrees.processes import end_processes, find_processes_in

    project, narrator = current_project(), Narrator()
    path, record = project.find(branch)
    at = path or Path(record.path if record else branch)
    running = find_processes_in(at)
    if not running:
        return Answer([], f"nothing runs in {at}")
    if c.config.run.dry:
        return preview([f"end {process.name} ({process.pid}) in {process.cwd}" for process in running])
    with narrator.step(f"end {len(running)} process{'es' if len(running) > 1 else ''} in {at}"):
        ended = end_processes(running)
    data = [
        {"pid": process.pid, "name": process.name, "cwd": process.cwd, "signal": process.signal} for process in ended
    ]
    lines = [f"ended {process.name} ({process.pid}) in {process.cwd} by {process.signal}" for process in ended]
    return Answer(data, "\n".join(lines))


@task(
    reads=True,
    name="list",
    default=True,
    help={"quick": "Leave out the states of git, which take long in large repositories."},
    returns=(
        "`[{branch, path, state, current, locked, worker, slug, database, port, ports, number, dev_url, listening, "
        "head, dirty, ahead, behind, merged, upstream: {branch, ahead, behind} or null, bytes, sessions, "
        "foreign: [{source, key, database}], companions: [{database, bytes, sessions}], "
        "drift: {applied, pending, missing, golden_changed} or null, created, age_seconds}]`; "
        "counts; null means that it does not apply or cannot be determined"
    ),
)
def list_(c: Context, quick: bool = False, json: bool = False) -> Answer:
    """
    List all worktrees: git, database, migrations, port

    States: main; ready (busy: a process changes it); creating or removing
    (interrupted: the next call finishes); unmanaged (created without this tool); gone (a record without a
    worktree). `?` is unknown, with the reason on stderr. A terminal shows the
    names at once, and the rest as it becomes known.
    """
    from tasks_lib.collections.views import worktree_table
    from tasks_lib.worktrees.reports import listing

    project, narrator = current_project(looks=True), Narrator()
    rows = listing.list_rows(project)
    pending = ("databases",) if quick else ("git", "databases")
    if in_terminal() and not json:
        waiting = show_while(lambda: worktree_table.format_worktrees(rows, pending))
    else:
        waiting = narrator.quietly("look at the worktrees and their databases")
    with waiting:
        troubles = listing.fill_rows(project, rows, quick=quick)
    for line in worktree_table.format_warnings(rows, troubles):
        narrator.say(f"warning: {line}")
    return Answer([listing.format_document(row) for row in rows], worktree_table.format_worktrees(rows))


@task(
    reads=True,
    klass=OptionalPositional,
    help={"branch": f"{_BRANCH_HELP} By default the current worktree."},
    returns=(
        "all that a row of `worktree.list` has, and `{branch_at_creation, subdomain, session, url, "
        "url_layer, own, tables, clone, toolchain, migrations: {applied, pending, missing, last} or null, "
        "golden: {database, bytes, sessions, changed, new_migrations}, problems: [{message, hint}]}`; "
        "`url` has no password, and `own` says whether it is this worktree's database"
    ),
)
def status(c: Context, branch: str = "", json: bool = False) -> Answer:
    """
    Show everything about a worktree; run this first when in doubt

    Shows names, git, databases, DATABASE_URL as the application would read it and
    from where, migrations, changes in golden since, port and sessions. Exits with 1
    and names the fix if something is wrong, such as another database's URL.
    """
    from tasks_lib.collections.views import worktree_status
    from tasks_lib.worktrees.reports.status import format_document, report_status

    project, narrator = current_project(looks=True), Narrator()
    with narrator.quietly("look at the worktree and its database"):
        found = report_status(project, branch, os.environ)
    return Answer(
        format_document(found), worktree_status.format_status(found, project.settings.migrate), ok=not found.problems
    )


@task(reads=True, help={"branch": _BRANCH_HELP}, returns="`{branch, path}`")
def path(c: Context, branch: str, json: bool = False) -> Answer:
    """
    Print where a branch's worktree is

    For `cd "$(inv worktree.path BRANCH)"`.
    """
    found, record = current_project(looks=True).find(branch)
    if found is None or not found.exists():
        at = found or (record.path if record else "?")
        raise WorktreeError(
            f"the worktree of `{branch}` is gone from {at}",
            hint=f"to clean up after it:\ninv worktree.remove {branch}",
        )
    return Answer({"branch": branch, "path": found}, str(found), exact=True)


@task(
    klass=OptionalPositional,
    help={
        "branch": f"{_BRANCH_HELP} By default the current worktree.",
        "sync": "Add the keys that are missing. No key that the worktree has is changed.",
    },
    returns=(
        "`{values: [{file, key, value, state, exported}], added: [{file, key}]}`; `value` is null where it may be a "
        "secret; states as in the task's help"
    ),
)
def env(c: Context, branch: str = "", sync: bool = False, json: bool = False) -> Answer:
    """
    Show what is in a worktree's env files; --sync adds what main gained

    States: own (set by goldentree); wrong (goldentree would set another value);
    main (as in the main worktree); changed (another value than there); added (not
    there); missing (there, but not here). Values that may be secrets are not shown.
    --sync names the worktree's own databases in the keys that it adds, as at creation.
    """
    from tasks_lib.collections.views import env_table
    from tasks_lib.worktrees.plans.sync_env import plan_sync_env
    from tasks_lib.worktrees.reports.env_values import report_env_values
    from tasks_lib.worktrees.reports.incomplete import command_for_worktree

    project, narrator = current_project(looks=not sync), Narrator()
    record, path = _require_existing(project, branch)
    command = partial(command_for_worktree, project, path)
    if not sync:
        return env_table.report(report_env_values(project, record, path, os.environ), command)
    with plan_sync_env(project, record, path) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        planned.run(narrator)
        return env_table.report(report_env_values(project, record, path, os.environ), command, planned.subject)


def _require_existing(project: Project, branch: str) -> tuple[Record, Path]:
    """
    Return the record and the path of the worktree of *branch*, by default the current one.

    Raises:
        WorktreeError: If it is gone, or has no record.
    """
    if not branch:
        return project.require_record_here(), project.repository.current
    path, record = project.find(branch)
    if record is None or path is None or not path.exists():
        raise WorktreeError(
            f"the worktree of `{branch}` is gone, or was created without this tool", hint="inv worktree.list"
        )
    return record, path
