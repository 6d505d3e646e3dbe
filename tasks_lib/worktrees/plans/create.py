"""
Create a worktree: validate the branch name, derive the names, check the world, plan, run.
"""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError, WorktreeError
from tasks_lib.git.branch_names import require_free_branch, require_plain_name
from tasks_lib.git.pull_requests import fetch_pull_request, find_pull_request, require_number
from tasks_lib.git.remotes import fetch_remotes
from tasks_lib.git.repository import list_worktrees
from tasks_lib.git.start import BranchName, Start, find_start, read_branch_name
from tasks_lib.plan import Plan
from tasks_lib.worktrees.env.guard import require_no_conflicting_export
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.steps import worktree_record
from tasks_lib.worktrees.steps.checkout import Checkout
from tasks_lib.worktrees.steps.databases import check_databases, companion_database_steps, own_database_step
from tasks_lib.worktrees.steps.env_file import env_file_step, require_editable_env_file, require_no_tracked_link
from tasks_lib.worktrees.steps.files import file_steps
from tasks_lib.worktrees.steps.hooks import after_setup_steps, companion_setup_steps
from tasks_lib.worktrees.steps.portless import portless_steps
from tasks_lib.worktrees.steps.rename_databases import rename_databases_step
from tasks_lib.worktrees.steps.submodules import submodule_steps
from tasks_lib.worktrees.steps.toolchain import toolchain_steps
from tasks_lib.worktrees.steps.worktree_record import new_record, ready_step, record_step
from tasks_lib.worktrees.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.identity import Identity
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@contextmanager
def plan_create(
    project: Project,
    branch: str,
    narrator: Narrator,
    *,
    base: str = "",
    path: str = "",
    pull_request: str = "",
    fetch: bool = False,
    dry: bool = False,
    options: CloneOptions | None = None,
    command: str = "",
) -> Iterator[Planned[Record]]:
    """
    Plan a worktree for *branch*, or the rest of an interrupted one. The `with` body runs under the worktree's lock.

    Args:
        branch: As `read_branch_name` understands it. May be empty for a pull request.
        base: Where a new branch starts, by default at the remote's branch of that name, else at `worktree.base`.
        path: Where the worktree goes, by default as the settings say.
        pull_request: The number of a pull or merge request that a new branch starts at.
        fetch: Fetch all remotes first.
        dry: Fetch nothing, whatever the other arguments say.
        options: How its databases are cloned. None for no databases now.
        command: The task that the user has called, with its arguments, for hints; by default `worktree.create`.

    Raises:
        GoldentreeError: If the worktree cannot be created. Nothing was changed.
    """
    project = replace(project, connects=options is not None)
    branch = _require_branch(branch, base, pull_request)
    require_plain_name(project.repository, branch)
    if fetch and not dry:
        with narrator.step("fetch all remotes"), project.registry.fetching():
            fetch_remotes(project.repository, narrator.update)
    name = read_branch_name(project.repository, branch)
    if name.local != branch:
        require_plain_name(project.repository, name.local)
    require_no_conflicting_export(project, os.environ)
    identity = worktree_record.derive_identity(project, name.local)
    with project.registry.working_on(identity.slug):
        record = project.registry.find(identity.slug)
        if record is not None and _is_interrupted(record, identity):
            narrator.say(f"finishing {record.path}, whose creation on {record.created_at} was interrupted")
        else:
            if pull_request:
                _require_new_branch(project, name.local)
            _require_unused_names(project, identity, record)
            place = _require_target(project, name.local, path)
            if pull_request:
                start = _start_at_pull_request(project, name, pull_request, narrator, dry=dry)
            else:
                start = find_start(project.repository, name, base=base, default=project.settings.base)
            if said := start.describe(name.local):
                narrator.say(said)
            record = new_record(project, identity, place, start=start, made_worktree=True)
            require_no_tracked_link(project, record.base or str(project.repository.commit(f"refs/heads/{name.local}")))
        place = project.registry.paths().get(record.slug) or Path(record.path)
        target = Target(project, record, place, narrator)
        require_editable_env_file(target)
        # First its check of env files: an application on another server explains why golden is missing on this one.
        plan = _plan(target, options, command or f"worktree.create {name.local}")
        if options is not None:
            check_databases(target, options)
        yield Planned(record, (plan,))


def _require_branch(branch: str, base: str, pull_request: str) -> str:
    """
    Return the branch that the arguments of `plan_create` mean.

    Raises:
        BranchError: If they mean none, or contradict each other.
    """
    if pull_request:
        require_number(pull_request)
        if base:
            raise BranchError("a pull request says itself where its branch starts", hint="leave --base or --pr out")
        return branch or f"pr-{pull_request}"
    if not branch:
        raise BranchError("no branch was named", hint="inv worktree.create BRANCH")
    return branch


def _is_interrupted(record: Record, identity: Identity) -> bool:
    # `worktree.setup` finishes an adopted one: undoing its creation would delete a worktree that we did not create.
    return record.state == "creating" and record.made_worktree and record.identity.branch == identity.branch


def _start_at_pull_request(project: Project, name: BranchName, number: str, narrator: Narrator, *, dry: bool) -> Start:
    """
    Return the start of the new branch *name* at the pull request *number*, after fetching that.

    Raises:
        BranchError: If no remote or several have the pull request.
        GitError: If a remote does not answer.
    """
    repository = project.repository
    with narrator.quietly("ask the remotes for the pull request"):
        request = find_pull_request(repository, number, name.local)
    if repository.commit(request.commit) is None:
        if dry:
            start = find_start(repository, BranchName(name.local), base="HEAD", default=None)
            return replace(start, remark=f"instead of {request.title}, which a dry run does not fetch")
        with narrator.step(f"fetch {request.title}"), project.registry.fetching():
            fetch_pull_request(repository, request, narrator.update)
    return Start(request.commit, request.tracking, request.title)


def _require_new_branch(project: Project, branch: str) -> None:
    """
    Refuse to check out a pull request as a *branch* that exists: it may have commits of its own.

    Raises:
        BranchError: If so, with the command that brings later commits of the pull request.
    """
    if not project.repository.has_branch(branch):
        return
    listed = list_worktrees(project.repository.main)
    path = next((entry.path for entry in listed if entry.branch == branch), None)
    create, place = (
        ("", shlex.quote(str(path)))
        if path
        else (f"inv worktree.create {branch} && ", f'"$(inv worktree.path {branch})"')
    )
    raise BranchError(
        f"branch `{branch}` exists already",
        why="--pr is for new branches, and this one may have commits of its own",
        hint=f"to bring later commits of the pull request into it:\n{create}git -C {place} pull --ff-only",
    )


def _require_unused_names(project: Project, identity: Identity, known: Record | None) -> None:
    """
    Refuse a branch that has a worktree, or whose names have a record.

    Args:
        known: The record that has the same slug, if any.

    Raises:
        BranchError, WorktreeError: If so.
    """
    require_free_branch(project.repository, identity.branch)
    if known is None:
        return
    path = project.registry.paths().get(known.slug, Path(known.path))
    if path.exists() or known.identity.branch != identity.branch:
        raise WorktreeError(
            f"the names of branch `{identity.branch}` belong to the worktree at {path}",
            why=f"it was created for branch `{known.identity.branch}`, and a worktree keeps its names",
            hint="choose another branch name",
        )
    raise WorktreeError(
        f"the worktree of `{identity.branch}` is no longer at {path}",
        why=f"its record still exists, and perhaps its database `{known.identity.database}`",
        hint=f"inv worktree.remove {known.slug}",
    )


def _require_target(project: Project, branch: str, path: str) -> Path:
    """
    Return the directory for the worktree.

    Raises:
        WorktreeError: If it exists, or cannot be created.
    """
    main = project.repository.main
    default = (project.settings.root or main.parent) / f"{main.name}-{branch.replace('/', '-')}"
    chosen = Path(path).expanduser().absolute() if path else default
    # git lists worktrees by their real paths. The last part is not resolved: a dangling link there is in the way.
    target = Path(os.path.realpath(chosen.parent), chosen.name)
    try:
        target.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WorktreeError(f"`{target}` cannot be created: {error.strerror}") from None
    else:
        raise WorktreeError(
            f"`{target}` exists already",
            why="the worktree would be created there, and nothing is overwritten",
            hint=f"inv worktree.create {branch} --path ANOTHER",
        )
    parent = next(folder for folder in target.parents if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise WorktreeError(f"`{parent}` is not writable", hint="set WORKTREE_ROOT, or pass --path")
    return target


def _plan(target: Target, options: CloneOptions | None, command: str) -> Plan:
    branch = target.record.identity.branch
    first = record_step(target)
    record = target.record
    checkout = Checkout(target.project, target.slug, branch, target.path, record.base, command, record.tracking).step()
    prepared = [
        *submodule_steps(target.project, target.path, target.narrator, command),
        *file_steps(target),
        # Even without a database the file names the future clone: an application that finds no database is better
        # than one that uses the main worktree's.
        env_file_step(target),
        rename_databases_step(target),
        *after_setup_steps(target),
    ]
    last = [ready_step(target), *portless_steps(target)]
    if options is None:
        return Plan([first, checkout, *prepared, *last], hint=f"fix it, then run:\ninv {command}")
    cloned = (own_database_step(target, options), *companion_database_steps(target, options))
    migrated = [*companion_setup_steps(target), *toolchain_steps(target)]
    hint = "fix it, then run the same command; to fix a migration in the worktree, create that without databases and "
    hint += f"set it up afterwards (inv worktree.setup):\ninv {command} --no-db"
    # Cloning is the long one, so it runs beside the checkout.
    return Plan([first, (*cloned, checkout), *prepared, *migrated, *last], hint=hint)
