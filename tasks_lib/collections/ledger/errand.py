"""Errands: small work on a branch and worktree of its own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.collections._arguments import read_text
from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, OptionalPositional, task
from tasks_lib.collections.views.results import CLONE_HELP, preview, report, report_removal
from tasks_lib.collections.views.rows import row_for_json
from tasks_lib.ledger.store.ids import short_id
from tasks_lib.output import Narrator, colour_patch
from tasks_lib.program_name import name_program
from tasks_lib.workflows.ledger_access import ledger_of

if TYPE_CHECKING:
    from invoke.context import Context

    from tasks_lib.ledger.schema.errands import Errand
    from tasks_lib.worktrees.removal.steps import Removal

_ERRAND_HELP = "The errand's id, its beginning, or its branch."
_HERE = f"{_ERRAND_HELP} The errand of the current worktree when not given."


@task(
    help={
        "description": "The work, in at most 200 characters; `-` reads standard input.",
        "base": "The branch to start from and merge into; the default branch when not given.",
        "as": "The agent that runs the errand, by name.",
        "no-db": "Skip the database; `inv worktree.setup` adds it later.",
        **CLONE_HELP,
    },
    returns="*worktree* and *errand*: `{id, description, branch, base_branch, agent_alias, status, …}`",
)
def start(
    c: Context,
    description: str,
    base: str = "",
    as_: str = "",
    no_db: bool = False,
    fresh: bool = False,
    evict: bool = False,
    json: bool = False,
) -> Answer:
    """
    Start an errand: a branch, a worktree and a row in the ledger

    A failure or Ctrl-C removes all three. After a kill, `inv errand.list` shows
    what is left and the command that finishes it.
    """
    from tasks_lib.ledger.work import errands
    from tasks_lib.workflows import errands as _errand

    line = errands.require_description(read_text(description))
    project, narrator = current_project(), Narrator()
    options = None if no_db else project.clone_options(fresh=fresh, evict_idle=evict)
    with _errand.plan_start(project, line, narrator, base=base, agent=as_, options=options) as planned:
        if c.config.run.dry:
            return preview(planned.preview())
        ran = planned.run(narrator)
        made = report(project.registry.require(planned.subject.record.slug), Path(planned.subject.record.path), ran)
    errand = _errand.find_errand(project, planned.subject.id)
    return Answer({**made.data, **row_for_json(errand)}, f"{made.text}\nerrand    {short_id(errand.id)}")


@task(
    reads=True,
    name="list",
    default=True,
    help={"status": "Only active, pending_review, conflict, merged or abandoned errands."},
    returns="`[errand and {path, dirty, ahead, problem: {message, hint} or null}]`",
)
def list_(c: Context, status: str = "", json: bool = False) -> Answer:
    """
    List the errands, the newest first, with the state of their worktrees

    Problems of unfinished errands, and the commands that fix them, are on stderr;
    in JSON they are in `problem`.
    """
    from tasks_lib.collections.views.errand_table import errand_for_json, format_errands
    from tasks_lib.workflows import errand_status

    project, narrator = current_project(looks=True), Narrator()
    with ledger_of(project).read() as tx:
        everything = tx.errands.find_all()
        shown = tx.errands.find_all(status=status) if status else everything
    with narrator.quietly("look at the worktrees"):
        found = errand_status.list_errand_states(project, shown)
    for state in found:
        if state.problem:
            name, otherwise = short_id(state.errand.id), f"inv errand.abandon {short_id(state.errand.id)}"
            narrator.say(f"warning: errand {name}: {state.problem.what}; {state.problem.cure}, or {otherwise}")
    for branch in errand_status.list_orphan_branches(project, everything):
        narrator.say(f"warning: {branch} has a worktree, but no row in the ledger; inv worktree.remove {branch}")
    return Answer([errand_for_json(state) for state in found], format_errands(found))


@task(
    reads=True,
    klass=OptionalPositional,
    help={"errand": _HERE, "stat": "Print a line for each file instead of the patch."},
    returns="`{id, merge_base, files: […], patch}`",
)
def diff(c: Context, errand: str = "", stat: bool = False, json: bool = False) -> Answer:
    """
    Show an errand's changes since it branched from its base

    Includes uncommitted work in its worktree and untracked files.
    """
    from tasks_lib.git.diff import replace_undecodable
    from tasks_lib.workflows import errands

    project = current_project(looks=True)
    found = errands.find_errand(project, errand)
    with errands.diff(project, found) as changes:
        if json:
            files = [asdict(file) for file in changes.files()]
            patch = replace_undecodable(changes.patch())
            return Answer({"id": found.id, "merge_base": changes.old, "files": files, "patch": patch}, "")
        text = changes.stat() if stat else colour_patch(changes.patch())
    return Answer(None, text or f"no changes compared with `{found.base_branch}`", exact=not stat)


@task(
    klass=OptionalPositional,
    help={"errand": _HERE, "force": "Submit it although its worktree has uncommitted work."},
    returns="*errand*: `{id, status, …}`",
)
def complete(c: Context, errand: str = "", force: bool = False, json: bool = False) -> Answer:
    """
    Submit an errand for review; stop the agents in its worktree

    Refuses while its worktree has uncommitted work, which would not be merged.
    """
    from tasks_lib.workflows import errands

    project = current_project()
    found = errands.find_errand(project, errand)
    errands.require_completable(project, found, force=force)
    if c.config.run.dry:
        return preview([f"submit errand {short_id(found.id)} for review"])
    return _report(
        errands.complete(project, found),
        name_program(f"inv errand.diff {short_id(found.id)}"),
        name_program(f"inv errand.merge {short_id(found.id)}"),
    )


@task(
    help={
        "errand": _ERRAND_HELP,
        "force": "Merge although its worktree has uncommitted work, which stays there.",
        "remove": "Remove its worktree afterwards, as `inv worktree.remove` does.",
    },
    returns="*errand* and `{conflicts: [path]}` (status 1) or `{removed}`",
)
def merge(c: Context, errand: str, force: bool = False, remove: bool = False, json: bool = False) -> Answer:
    """
    Merge a completed errand into its base branch, checked out or not

    Merges as `git merge` does, with your hooks, signature and `merge.ff`, but in a
    temporary worktree. A conflict changes nothing: the errand's status becomes
    `conflict`, the files are listed, and the exit status is 1. A worktree that has
    the base branch checked out is updated too; it must not have uncommitted
    changes, and its untracked files stay.
    """
    from tasks_lib.workflows import errands

    project, narrator = current_project(), Narrator()
    planned = errands.plan_merge(project, errands.find_errand(project, errand), force=force, remove=remove)
    if c.config.run.dry:
        return preview([*planned.preview(), *(["remove its worktree"] if remove else [])])
    planned.run(narrator)
    merged, conflicts = planned.subject.errand, planned.subject.conflicts
    if conflicts:
        cure = (
            f"in its worktree: git merge {merged.base_branch}",
            name_program(f"then, committed: inv errand.resolve {short_id(merged.id)}"),
        )
        answer = _report(merged, *(f"  {file}" for file in conflicts), *cure)
        return Answer({**answer.data, "conflicts": conflicts}, answer.text, ok=False)
    return _report(merged, removal=errands.remove(project, narrator, merged) if remove else None)


@task(klass=OptionalPositional, help={"errand": _HERE}, returns="*errand*: `{id, status, …}`")
def resolve(c: Context, errand: str = "", json: bool = False) -> Answer:
    """
    Submit an errand again once its branch merges without conflict

    Tries the merge and discards it.
    """
    from tasks_lib.workflows import errands

    project, narrator = current_project(), Narrator()
    found = errands.find_errand(project, errand)
    with narrator.quietly(f"merge {found.branch} into {found.base_branch}, to see whether it can be"):
        errands.require_resolved(project, found)
    if c.config.run.dry:
        return preview([f"submit errand {short_id(found.id)} for review"])
    return _report(errands.resolve(project, found), name_program(f"inv errand.merge {short_id(found.id)}"))


@task(
    help={
        "errand": _ERRAND_HELP,
        "force": "Abandon it with uncommitted or unmerged work; `inv worktree.undo` restores it.",
    },
    returns="*errand* and `{removed}`, as of `worktree.remove`",
)
def abandon(c: Context, errand: str, force: bool = False, json: bool = False) -> Answer:
    """
    Abandon an errand, and remove its worktree and branch

    Refuses if work would be lost, as `inv worktree.remove` does. The removal can be
    undone, and the row stays.
    """
    from tasks_lib.workflows import errands

    project, narrator = current_project(), Narrator()
    found = errands.find_errand(project, errand)
    errands.require_open(found)
    if c.config.run.dry:
        there = errands.has_worktree(project, found)
        return preview([*(["remove its worktree"] if there else []), f"abandon errand {short_id(found.id)}"])
    removal = errands.remove(project, narrator, found, force=force)
    return _report(errands.abandon(project, found), removal=removal)


def _report(errand: Errand, *more: str, removal: Removal | None = None) -> Answer:
    """Return the new state of *errand*, and the *removal* of its worktree if there was one."""
    lines = [f"errand {short_id(errand.id)} is {errand.status}", *more]
    if removal is None:
        return Answer(row_for_json(errand), "\n".join(lines))
    removed = report_removal(removal)
    return Answer({**row_for_json(errand), "removed": removed.data}, "\n".join([*lines, removed.text]), ok=removed.ok)
