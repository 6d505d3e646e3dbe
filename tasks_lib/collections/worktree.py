"""A worktree with its own database, env file and port for every branch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.collections._project import project
from tasks_lib.collections._report import CLONE_HELP, preview, report
from tasks_lib.collections._task import Answer, task
from tasks_lib.errors import WorktreeError
from tasks_lib.output import Narrator, table

if TYPE_CHECKING:
    from invoke.context import Context

_BRANCH_HELP = "The branch; its slug or the worktree's path will do as well."


@task(
    aliases=["up"],
    help={
        "branch": "The branch to work on; made when there is none.",
        "base": "What a new branch starts from; the default branch when not given.",
        "path": "Where the worktree goes; ../<repo>-<branch> when not given.",
        "no-db": "Leave the database out; `inv worktree.db` adds it later.",
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

    Checks out BRANCH beside the main worktree while the golden template is cloned, points the
    env file at the clone, then runs the branch's migrations and code generation on it. A failure
    or Ctrl-C undoes what this call did; a call that was killed is finished by the next one.
    """
    from tasks_lib.worktrees.create import creation  # noqa: PLC0415 - `inv --list` stays fast

    here, narrator = project(), Narrator()
    wish = None if no_db else here.wish(fresh=fresh, evict=evict)
    with creation(here, branch, narrator, base=base, path=path, wish=wish) as planned:
        if c.config.run.dry:
            return preview(planned.plan.preview())
        ran = planned.plan.run(narrator)
        return report(here.registry.require(planned.record.slug), Path(planned.record.path), ran)


@task(help=CLONE_HELP)
def db(c: Context, fresh: bool = False, evict: bool = False, json: bool = False) -> Answer:
    """
    Give this worktree its database: clone, point, migrate, generate

    Runs inside a linked worktree, whoever made it. A complete clone is kept.
    """
    from tasks_lib.worktrees.setup import setup  # noqa: PLC0415 - as in `create`

    here, narrator = project(), Narrator()
    with setup(here, narrator, here.wish(fresh=fresh, evict=evict)) as planned:
        if c.config.run.dry:
            return preview(planned.plan.preview())
        ran = planned.plan.run(narrator)
        return report(here.registry.require(planned.record.slug), here.repository.here, ran)


@task(
    aliases=["down"],
    help={
        "branch": _BRANCH_HELP,
        "force": "Go on although uncommitted or unmerged work is lost.",
        "keep-branch": "Leave the branch.",
    },
)
def remove(c: Context, branch: str, force: bool = False, keep_branch: bool = False, json: bool = False) -> Answer:
    """
    Remove a worktree, its database and its branch

    Refuses while uncommitted, unmerged or unpushed work would be lost. Drops a database only if
    its comment says that it is this worktree's.
    """
    from tasks_lib.worktrees.remove import carry_out, examine  # noqa: PLC0415 - as in `create`

    here, narrator = project(), Narrator()
    removal = examine(here, branch, force=force, keep_branch=keep_branch)
    if c.config.run.dry:
        return preview(removal.preview())
    removed = carry_out(here, removal, narrator, force=force)
    data = {"path": removed.path, "branch": removed.branch, "commit": removed.tip, "database": removed.database}
    lines = [f"removed {branch}"]
    if removed.branch:
        lines.append(f"to have the branch back: git branch {removed.branch} {removed.tip}")
    return Answer(data, "\n".join(lines), ok=removed.database != "pending")


@task(name="list", default=True)
def list_(c: Context, json: bool = False) -> Answer:
    """
    List all worktrees with their databases and ports

    States: main; ready; creating or removing, which the next call finishes; unmanaged, made
    without this tool; gone, a record whose worktree is not there.
    """
    from tasks_lib.worktrees.listing import rows  # noqa: PLC0415 - as in `create`

    found = rows(project())
    data = [
        {
            "branch": row.branch,
            "path": row.path,
            "slug": row.slug,
            "database": row.database,
            "port": row.port,
            "dev_url": row.dev_url,
            "state": row.state,
        }
        for row in found
    ]
    cells = [
        (row.branch or "(detached)", row.state, row.database or "-", str(row.port or "-"), str(row.path))
        for row in found
    ]
    return Answer(data, table(("BRANCH", "STATE", "DATABASE", "PORT", "PATH"), cells))


@task(help={"branch": _BRANCH_HELP})
def path(c: Context, branch: str, json: bool = False) -> Answer:
    """
    Print where a branch's worktree is

    Made for `cd "$(inv worktree.path BRANCH)"`.
    """
    found, record = project().find(branch)
    if found is None or not found.exists():
        at = found or (record.path if record else "?")
        raise WorktreeError(
            f"the worktree of `{branch}` is gone from {at}", hint=f"inv worktree.remove {branch}  # cleans up after it"
        )
    return Answer({"branch": branch, "path": found}, str(found))
