"""A worktree with its own database, env file and port for every branch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.collections._project import current_project
from tasks_lib.collections._setup import set_up
from tasks_lib.collections._task import Answer, OptionalPositional, task
from tasks_lib.collections.views.results import CLONE_HELP, preview, removed, report, swept
from tasks_lib.errors import WorktreeError
from tasks_lib.output import Narrator
from tasks_lib.workflows.ledger_access import stop_orphaned_agents

if TYPE_CHECKING:
    from invoke.context import Context

_BRANCH_HELP = "The branch; its slug or the worktree's path will do as well."


@task(
    aliases=["up"],
    help={
        "branch": "The branch to work on; made when there is none.",
        "base": "What a new branch starts from; the default branch when not given.",
        "path": "Where the worktree goes; ../<repo>-<branch> when not given.",
        "no-db": "Leave the database out; `inv worktree.setup` adds it later.",
        **CLONE_HELP,
    },
)
def create(
    c: Context,
    branch: str,
    base: str = "",
    path: str = "",
    no_db: bool = False,
    fresh: bool = False,
    evict: bool = False,
    json: bool = False,
) -> Answer:
    """
    Create a worktree with a database, env file and port of its own

    Checks out BRANCH beside the main worktree while the golden template is
    cloned, points the env file at the clone, then runs the branch's migrations
    and code generation on it. A failure or Ctrl-C undoes what this call did; a
    call that was killed is finished by the next one.
    """
    from tasks_lib.worktrees.plans.create import plan_create

    here, narrator = current_project(), Narrator()
    options = None if no_db else here.clone_options(fresh=fresh, evict_idle=evict)
    with plan_create(here, branch, narrator, base=base, path=path, options=options) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        ran = planned.run(narrator)
        return report(here.registry.require(planned.subject.slug), Path(planned.subject.path), ran)


@task(help=CLONE_HELP)
def db(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Give this worktree its database: clone, point, migrate, generate

    Runs inside a linked worktree, whoever made it. A complete clone is kept.
    """
    return set_up(c, fresh=fresh, evict=evict, database_only=True)


@task(name="setup", help=CLONE_HELP)
def setup_(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Set up this worktree, which something else has made

    Inside a worktree of Conductor, an editor or plain git: all that
    `worktree.create` does but the checkout. A second call does what is missing,
    and no more; a database that is there stays.
    """
    return set_up(c, fresh=fresh, evict=evict)


@task(
    aliases=["down"],
    help={
        "branch": _BRANCH_HELP,
        "force": "Go on although work is not committed or not merged; `inv worktree.undo` has it.",
        "keep-branch": "Leave the branch.",
    },
)
def remove(c: Context, branch: str, force: bool = False, keep_branch: bool = False, json: bool = False) -> Answer:
    """
    Remove a worktree and its branch, park its databases

    Refuses while uncommitted, unmerged or unpushed work would be lost. Ends what
    runs in the worktree, and stops its agents in the ledger. `inv worktree.undo`
    brings all of it back until `inv worktree.gc --yes` sweeps it.
    """
    from tasks_lib.worktrees.plans.remove import plan_remove

    here, narrator = current_project(), Narrator()
    with plan_remove(here, branch, narrator, force=force, keep_branch=keep_branch) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        planned.run(narrator)
    stop_orphaned_agents(here, narrator)
    return removed(planned.subject)


@task()
def teardown(c: Context, json: bool = False) -> Answer:
    """
    Park the databases of this worktree, which somebody else removes

    For hooks such as Conductor's archive; harmless in a worktree that was never
    set up. When the server is down, `inv worktree.gc` finishes it later.
    """
    from tasks_lib.worktrees.plans.teardown import plan_teardown

    here, narrator = current_project(), Narrator()
    with plan_teardown(here, narrator) as planned:
        if planned is None:
            return Answer({"databases": "absent"}, "nothing to tear down: this worktree has no databases")
        if c.config.run.dry:
            return preview(planned.preview())
        planned.run(narrator)
    stop_orphaned_agents(here, narrator)
    return removed(planned.subject)


@task(
    klass=OptionalPositional,
    help={
        "branch": "Which one: its branch, slug or former path; the last removed one when not given.",
        "path": "Where the worktree goes; where it was when not given.",
    },
)
def undo(c: Context, branch: str = "", path: str = "", json: bool = False) -> Answer:
    """
    Bring a removed worktree back: branch, databases, uncommitted work

    Also what `worktree.teardown` and `db.reset` have parked. Ignored files are
    made anew, as for a new worktree.
    """
    from tasks_lib.worktrees.plans.undo import plan_undo

    here, narrator = current_project(), Narrator()
    with plan_undo(here, branch, narrator, path=path) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        ran = planned.run(narrator)
    removal, target = planned.subject.removal, planned.subject.path
    record = here.registry.find(removal.slug)
    if record is None:
        return Answer({"branch": removal.branch, "path": target}, f"worktree  {target}")
    return report(record, target, ran)


@task(help={"yes": "Do it; without, nothing is changed."})
def gc(c: Context, yes: bool = False, json: bool = False) -> Answer:
    """
    Sweep what nothing owns any more

    Worktrees that were deleted by hand are removed, which can be undone; what was
    parked longer ago than WORKTREE_KEEP_REMOVED is dropped, and what killed
    processes have left. Says why for each, and changes nothing without --yes.
    """
    from tasks_lib.worktrees.plans.gc import Collected, collect
    from tasks_lib.worktrees.reports.orphans import find_orphans

    here, narrator = current_project(), Narrator()
    orphans = find_orphans(here)
    if not yes or c.config.run.dry:
        return swept([Collected(orphan, "candidate" if orphan.action else "kept") for orphan in orphans])
    collected = collect(here, orphans, narrator)
    stop_orphaned_agents(here, narrator)
    return swept(collected)


@task(help={"branch": _BRANCH_HELP})
def stop(c: Context, branch: str, json: bool = False) -> Answer:
    """
    End the processes whose working directory lies in a worktree

    TERM, and KILL two seconds later. Never what runs this very command, such as
    your shell.
    """
    from tasks_lib.worktrees.processes import end_processes, find_processes_in

    here, narrator = current_project(), Narrator()
    path, record = here.find(branch)
    at = path or Path(record.path if record else branch)
    running = find_processes_in(at)
    if not running:
        return Answer([], f"nothing runs in {at}")
    if c.config.run.dry:
        return preview([f"end {one.name} ({one.pid}) in {one.cwd}" for one in running])
    with narrator.step(f"end {len(running)} process{'es' if len(running) > 1 else ''} in {at}"):
        ended = end_processes(running)
    data = [{"pid": one.pid, "name": one.name, "cwd": one.cwd, "signal": one.signal} for one in ended]
    return Answer(data, "\n".join(f"ended {one.name} ({one.pid}) in {one.cwd} by {one.signal}" for one in ended))


@task(name="list", default=True)
def list_(c: Context, json: bool = False) -> Answer:
    """
    List all worktrees: git, database, migrations, port

    States: main; ready; creating or removing, which the next call finishes;
    unmanaged, made without this tool; gone, a record whose worktree is not there.
    A `?` is what cannot be told; why is on stderr.
    """
    from tasks_lib.collections.views import worktree_table
    from tasks_lib.worktrees.reports import listing

    here, narrator = current_project(), Narrator()
    with narrator.looking("look at the worktrees and their databases"):
        found, troubles = listing.report_rows(here, listing.list_rows(here))
    for line in worktree_table.warnings(found, troubles):
        narrator.say(f"warning: {line}")
    return Answer([listing.format_document(row) for row in found], worktree_table.worktrees(found))


@task(klass=OptionalPositional, help={"branch": f"{_BRANCH_HELP} The one we stand in when not given."})
def status(c: Context, branch: str = "", json: bool = False) -> Answer:
    """
    Show all that is known of a worktree; run this first when in doubt

    Names, git, databases, DATABASE_URL as the application would read it and from
    where, migrations, golden's changes since, port, sessions. Exit status 1 when
    something is wrong, such as a DATABASE_URL that is not this worktree's; then
    the cure is told as well.
    """
    from tasks_lib.collections.views import worktree_status
    from tasks_lib.worktrees.reports.status import format_document, report_status

    here, narrator = current_project(), Narrator()
    with narrator.looking("look at the worktree and its database"):
        found = report_status(here, branch, os.environ)
    return Answer(format_document(found), worktree_status.told(found), ok=not found.problems)


@task(help={"branch": _BRANCH_HELP})
def path(c: Context, branch: str, json: bool = False) -> Answer:
    """
    Print where a branch's worktree is

    Made for `cd "$(inv worktree.path BRANCH)"`.
    """
    found, record = current_project().find(branch)
    if found is None or not found.exists():
        at = found or (record.path if record else "?")
        raise WorktreeError(
            f"the worktree of `{branch}` is gone from {at}", hint=f"inv worktree.remove {branch}  # cleans up after it"
        )
    return Answer({"branch": branch, "path": found}, str(found))
