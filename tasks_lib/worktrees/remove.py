"""
Removing: refuse while anything could be lost, then take away in the order that fails safely.

The worktree goes first, because git itself may still refuse; then the database, then the branch.
A check that fails counts as a refusal. A server that is down does not block a removal: the record
stays in `removing`, and the same command finishes it later.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError, OwnershipError, ServerError, WorktreeError
from tasks_lib.worktrees import git
from tasks_lib.worktrees.checkout import UNFINISHED

if TYPE_CHECKING:
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.git import Listed
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

# What git keeps in a worktree's administrative directory while an operation is unfinished.
_OPERATIONS = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "sequencer": "a series of cherry-picks or reverts",
    "BISECT_LOG": "a bisection",
}


@dataclass(frozen=True)
class Removal:
    """
    What a removal takes away.

    Attributes:
        path: The worktree, None when it is gone already.
        record: Its record, None when this tool did not make it.
        branch: The branch to delete, None to keep it.
        tip: That branch's commit.
    """

    path: Path | None
    record: Record | None
    branch: str | None
    tip: str | None

    def preview(self) -> list[str]:
        """Return what would be done, a line for each step."""
        lines = [f"remove the worktree {self.path}"] if self.path else []
        lines += [f"drop database {self.record.identity.database}"] if self.record else []
        return lines + ([f"delete branch {self.branch} (at {self.tip})"] if self.branch else [])


@dataclass(frozen=True)
class Removed:
    """
    What a removal took away.

    Attributes:
        database: `dropped`, `absent`, `not ours`, or `pending` while the server cannot be reached.
    """

    path: Path | None
    branch: str | None
    tip: str | None
    database: str


def examine(project: Project, name: str, *, force: bool, keep_branch: bool) -> Removal:
    """
    Decide what removing the worktree of *name* means.

    Args:
        name: Branch, slug or path.
        force: Whether to go on although work would be lost.
        keep_branch: Whether to leave the branch.

    Raises:
        WorktreeError: If it is the main worktree, the one we stand in or locked, or work would be lost.
    """
    path, record = project.find(name)
    rows = git.worktrees(project.repository.main)
    listed = next((row for row in rows if row.path == path), None)
    others = [row for row in rows if row.path != path]
    branch = listed.branch if listed else record.identity.branch if record else None
    if listed is not None:
        _require_removable(listed, others)
        if not force and listed.path.exists():
            _require_nothing_lost(project, listed)
    tip = project.repository.commit(f"refs/heads/{branch}") if branch else None
    kept = keep_branch or branch in [row.branch for row in others]
    if branch is None or tip is None or kept or branch == project.repository.default_branch():
        return Removal(path, record, None, None)
    if not force:
        _require_merged(project, branch, tip)
    return Removal(path, record, branch, tip)


def carry_out(project: Project, removal: Removal, narrator: Narrator, *, force: bool) -> Removed:
    """
    Take away what *removal* names.

    Raises:
        RegistryError: If another process works on it.
        GitError: If git refuses.
    """
    record = removal.record
    with project.registry.working_on(record.slug) if record else nullcontext():
        return _carry_out(project, removal, narrator, force=force)


def _carry_out(project: Project, removal: Removal, narrator: Narrator, *, force: bool) -> Removed:
    record, main = removal.record, project.repository.main
    if record is not None:
        project.registry.update(record.slug, state="removing")
    if removal.path is not None:
        try:
            with narrator.step(f"remove the worktree {removal.path}"):
                # git checks once more that it is clean: something may have been written since we looked.
                git.run("worktree", "remove", *(["--force"] if force else []), removal.path, cwd=main)
        except GitError:
            if record is not None:
                project.registry.save(record)
            raise
    database = _drop_database(project, record, narrator) if record else "absent"
    if removal.branch is not None and removal.tip is not None:
        with narrator.step(f"delete branch {removal.branch}") as remarks:
            # Only while it is where we saw it: a commit made meanwhile stays.
            git.run("update-ref", "-d", f"refs/heads/{removal.branch}", removal.tip, cwd=main)
            git.run("config", "--remove-section", f"branch.{removal.branch}", cwd=main, check=False)
            remarks.append(f"was at {removal.tip[:12]}")
    if record is not None and database != "pending":
        project.registry.delete(record.slug)
    return Removed(removal.path, removal.branch, removal.tip, database)


def _drop_database(project: Project, record: Record, narrator: Narrator) -> str:
    from tasks_lib.databases import clone  # noqa: PLC0415 - loads psycopg

    repository, database = project.registry.repository_id, record.identity.database
    try:
        with narrator.step(f"drop database {database}"):
            dropped = clone.drop(
                project.server, database, repository=repository, slug=record.slug, golden=record.golden
            )
    except ServerError as error:
        narrator.say(f"{error}\nits record stays; run the same command when the server is back")
        return "pending"
    except OwnershipError as error:
        narrator.say(f"warning: {error.what}, and stays\n  {error.why}")
        return "not ours"
    if record.clone and not dropped:
        narrator.say(f"warning: there is no `{database}` on {project.server.url}; it was made on {record.server}")
    return "dropped" if dropped else "absent"


def _require_removable(listed: Listed, others: list[Listed]) -> None:
    path, locked = listed.path, listed.locked
    if locked == UNFINISHED:
        raise WorktreeError(
            f"the worktree {path} is being made, or git was killed while making it",
            hint=f"inv worktree.create {listed.branch}  # finishes it",
        )
    if locked is not None:
        raise WorktreeError(
            f"the worktree {path} is locked{f': {locked}' if locked else ''}",
            why="somebody asked git to keep it; --force does not override that",
            hint=f"git worktree unlock {path}",
        )
    here = Path(os.path.realpath(Path.cwd()))
    if here == path or path in here.parents:
        raise WorktreeError(
            f"the current directory is in {path}",
            why="a removal would take it away under this shell",
            hint="cd elsewhere",
        )
    inside = next((row.path for row in others if path in row.path.parents), None)
    if inside is not None:
        raise WorktreeError(
            f"the worktree {inside} lies in {path}", why="both would be deleted", hint=f"git worktree move {inside} TO"
        )


def _require_nothing_lost(project: Project, listed: Listed) -> None:
    path = listed.path
    try:
        directory = Path(git.output("rev-parse", "--absolute-git-dir", cwd=path))
        if directory.parent != project.repository.common / "worktrees":
            raise GitError(f"{path} is no worktree of this repository any more", why=f"git finds {directory} there")
        changes = git.output("status", "--porcelain", "--untracked-files=all", cwd=path).splitlines()
        saved = listed.branch or git.output("for-each-ref", "--count=1", "--contains", "HEAD", cwd=path)
    except GitError as error:
        raise WorktreeError(
            f"it cannot be told whether {path} holds work", why=str(error), hint="look there, then pass --force"
        ) from None
    operation = next((what for file, what in _OPERATIONS.items() if (directory / file).exists()), None)
    if operation:
        raise WorktreeError(f"{operation} is in progress in {path}", hint="finish it there, or pass --force")
    if changes:
        raise WorktreeError(
            f"{path} holds {len(changes)} uncommitted change{'s' if len(changes) > 1 else ''}",
            why="\n".join([*changes[:10], *(["…"] if len(changes) > 10 else [])]),
            hint=f"git -C {path} stash --include-untracked, or commit, or pass --force",
        )
    if not saved:
        raise WorktreeError(
            f"no branch holds the commits that {path} is on",
            why="its HEAD is detached, and git would forget them",
            hint=f"git -C {path} switch --create BRANCH, or pass --force",
        )


def _require_merged(project: Project, branch: str, tip: str) -> None:
    default = project.repository.default_branch()
    targets = [f"refs/heads/{default}", f"refs/remotes/origin/{default}", f"refs/remotes/origin/{branch}"]
    main = project.repository.main
    for target in targets:
        if project.repository.commit(target) and git.succeeds("merge-base", "--is-ancestor", tip, target, cwd=main):
            return
    raise WorktreeError(
        f"branch `{branch}` has commits that are neither in `{default}` nor pushed",
        why=git.output("log", "--oneline", "--max-count=10", tip, "--not", *_existing(project, targets), cwd=main),
        hint="merge or push it, or pass --keep-branch, or --force",
    )


def _existing(project: Project, references: list[str]) -> list[str]:
    return [reference for reference in references if project.repository.commit(reference)]
