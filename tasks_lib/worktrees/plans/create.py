"""
Creating: look at the world, refuse what cannot end well, then make a plan.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError, WorktreeError
from tasks_lib.git.branch_names import require_free, require_plain_name
from tasks_lib.plan import Plan
from tasks_lib.worktrees.env import guard
from tasks_lib.worktrees.steps import databases, env_file, files, hooks, portless, toolchain, worktree_record
from tasks_lib.worktrees.steps.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.databases.clone.strategy import CloneOptions
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@dataclass(frozen=True)
class Creation:
    """What is to be made: the record as far as it is known, and the plan."""

    record: Record
    plan: Plan


@contextmanager
def plan_create(
    project: Project,
    branch: str,
    narrator: Narrator,
    *,
    base: str = "",
    path: str = "",
    wish: CloneOptions | None = None,
) -> Iterator[Creation]:
    """
    Plan a worktree for *branch*, or the rest of one whose making was cut short; hold its lock meanwhile.

    Args:
        base: What a new branch starts from; by default the remote's branch of that name, else the default branch.
        path: Where the worktree goes; by default as the settings say.
        wish: How its database is cloned; None for no database now.

    Raises:
        GoldentreeError: If anything stands in the way; nothing was changed then.
    """
    require_plain_name(project.repository, branch)
    guard.require_unshadowed(project, os.environ)
    slug = worktree_record.new_slug(project, branch)
    with project.registry.working_on(slug):
        record = project.registry.find(slug)
        if record is not None and _is_unfinished(record, branch):
            narrator.say(f"finishing {record.path}, which a killed run began {record.created}")
        else:
            record = _new(project, branch, record, base=base, path=path)
        yield Creation(record, _plan(project, record, narrator, wish))


def _is_unfinished(record: Record, branch: str) -> bool:
    # One that was adopted is finished by `worktree.setup`: undoing its creation would delete somebody's worktree.
    return record.state == "creating" and record.made_worktree and record.identity.branch == branch


def _new(project: Project, branch: str, known: Record | None, *, base: str, path: str) -> Record:
    """Return the record of a new worktree, after every refusal that git and the file system have."""
    require_free(project.repository, branch)
    if known is not None:
        raise _name_is_taken(project, branch, known)
    target = _target(project, branch, path)
    exists = project.repository.has_branch(branch)
    if exists and base:
        raise BranchError(
            f"branch `{branch}` exists already", why="--base is for new branches", hint="leave --base out"
        )
    start = None if exists else _start(project, branch, base)
    return worktree_record.new_record(project, branch, target, base=start, made_worktree=True)


def _name_is_taken(project: Project, branch: str, known: Record) -> WorktreeError:
    there = project.registry.paths().get(known.slug, Path(known.path))
    if there.exists() or known.identity.branch != branch:
        return WorktreeError(
            f"the names of branch `{branch}` belong to the worktree at {there}",
            why=f"it was made for branch `{known.identity.branch}`, and a worktree keeps its names",
            hint="choose another branch name",
        )
    return WorktreeError(
        f"the worktree of `{branch}` is known, but gone from {there}",
        why=f"its record and perhaps its database `{known.identity.database}` are left",
        hint=f"inv worktree.remove {known.slug}",
    )


def _plan(project: Project, record: Record, narrator: Narrator, wish: CloneOptions | None) -> Plan:
    path, branch = project.registry.paths().get(record.slug) or Path(record.path), record.identity.branch
    env_file.require_editable(project, record, path)
    env_file.warn(project, record, path, narrator)
    checkout = Checkout(project, record.slug, branch, path, record.base).step()
    hint = f"mend it on the branch; to do so in its worktree: inv worktree.create {branch} --no-db,\n"
    hint += "and then, in that worktree: inv worktree.setup"
    prepared = [
        *files.steps(project, record, path, narrator),
        # Without a database, it names the clone all the same: an application that finds no database is better
        # than one that finds the main worktree's.
        env_file.step(project, record, path),
        *hooks.after_setup(project, record, path, narrator, hint=f"mend it, then: inv worktree.create {branch}"),
    ]
    first = worktree_record.record_step(project, record)
    last = [worktree_record.ready_step(project, record), *portless.steps(project, record, narrator)]
    if wish is None:
        return Plan([first, checkout, *prepared, *last])
    databases.examine(project, record)
    cloned = (
        databases.own_step(project, record, narrator, wish),
        *databases.companion_steps(project, record, narrator, wish),
    )
    on_it = [
        *hooks.companion_setup(project, record, path, narrator, hint=hint),
        *toolchain.steps(project, record, path, narrator, hint=hint),
    ]
    return Plan([first, (*cloned, checkout), *prepared, *on_it, *last])


def _target(project: Project, branch: str, path: str) -> Path:
    main = project.repository.main
    default = (project.settings.root or main.parent) / f"{main.name}-{branch.replace('/', '-')}"
    chosen = Path(path).expanduser().absolute() if path else default
    # git lists worktrees by their real paths; what stands at the end, were it a dangling link, is in the way.
    target = Path(os.path.realpath(chosen.parent), chosen.name)
    try:
        target.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WorktreeError(f"`{target}` cannot be made: {error.strerror}") from None
    else:
        raise WorktreeError(
            f"`{target}` exists already",
            why="the worktree would be made there, and nothing is overwritten",
            hint=f"inv worktree.create {branch} --path ANOTHER",
        )
    parent = next(folder for folder in target.parents if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise WorktreeError(f"`{parent}` cannot be written to", hint="set WORKTREE_ROOT, or pass --path")
    return target


def _start(project: Project, branch: str, base: str) -> str:
    """Return the commit that the new branch starts from."""
    repository = project.repository
    if base:
        commit = repository.commit(base)
        if commit is None:
            raise BranchError(f"base `{base}` is no commit", hint="git branch --all")
        return commit
    default = repository.default_branch()
    for reference in (f"refs/remotes/origin/{branch}", f"refs/heads/{default}", f"refs/remotes/origin/{default}"):
        if commit := repository.commit(reference):
            return commit
    raise BranchError(f"the default branch `{default}` has no commit here", hint="pass --base REF")
