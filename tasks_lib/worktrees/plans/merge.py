"""
Merge a branch into another one, even if that is checked out in a worktree.

The merge runs in a detached scratch worktree. (`git merge-tree --write-tree` needs no worktree, but git 2.38 or
later.) A complete merge then advances the base branch in one step: by a fast-forward in the worktree that has it
checked out, or of the branch alone. A conflict, a failure or a kill leaves every branch, index and file unchanged.
"""

from __future__ import annotations

import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError, GitError, WorktreeError
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.diff import replace_undecodable
from tasks_lib.git.merge_detection import is_ancestor
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.git.repository import Repository
    from tasks_lib.worktrees.project import Project

_NO_HOOKS = ("-c", "core.hooksPath=/dev/null")

# rerere would apply a recorded resolution unseen, and autostash would move uncommitted work out of a worktree.
_MERGE = ("-c", "rerere.enabled=false", "-c", "merge.autoStash=false", "merge")

_SHOWN = 10


def merge_branch(project: Project, branch: str, base: str, *, message: str) -> list[str]:
    """
    Merge *branch* into *base* as `git merge` does: with the user's hooks, signature and `merge.ff`.

    Untracked files in a worktree that has *base* checked out are kept. If the merge would overwrite one, ignored or
    not, git refuses.

    Args:
        message: The message of a merge commit.

    Returns:
        The files in conflict; nothing was changed if there are any.

    Raises:
        BranchError: If one of the branches does not exist.
        WorktreeError: If *base* is checked out in a worktree with uncommitted changes, or is being rebased.
        GitError: If git or a hook refuses.
        RegistryError: If another process is merging.
    """
    tip, old = _tip(project.repository, branch), _tip(project.repository, base)
    with _scratch_worktree(project) as path:
        if is_ancestor(project.repository, tip, old):
            return []
        _worktree_on(project.repository, base)
        if found := _conflicts(project, path, old, "--no-edit", "-m", message, tip):
            return found
        _advance_base(project.repository, base, old, read_git("rev-parse", "HEAD", cwd=path))
    return []


def find_conflicts(project: Project, branch: str, base: str) -> list[str]:
    """
    Return the files in which *branch* would conflict with *base*. Runs no hooks and changes nothing.

    Raises:
        BranchError, GitError, RegistryError: As `merge_branch`.
    """
    tip, old = _tip(project.repository, branch), _tip(project.repository, base)
    with _scratch_worktree(project) as path:
        return _conflicts(project, path, old, "--no-commit", "--no-ff", tip)


def _tip(repository: Repository, branch: str) -> str:
    tip = repository.commit(f"refs/heads/{branch}")
    if tip is None:
        raise BranchError(f"branch `{branch}` does not exist", why="deleted or renamed?", hint="git branch --list")
    return tip


@contextmanager
def _scratch_worktree(project: Project) -> Iterator[Path]:
    """Yield the path for a scratch worktree, and delete it. Under a lock, so an existing one is a killed run's."""
    main, path = project.repository.main, project.registry.directory / "merging"

    def clear() -> None:
        if any(entry.path == path for entry in list_worktrees(main)):
            run_git("worktree", "remove", "--force", "--force", path, cwd=main)
        shutil.rmtree(path, ignore_errors=True)

    with project.registry.working_on("merging"):
        clear()
        try:
            yield path
        finally:
            with uninterrupted():
                clear()


def _conflicts(project: Project, path: Path, commit: str, *arguments: str) -> list[str]:
    """Run `git merge` on *commit* in a new worktree at *path*, and return the files in conflict."""
    run_git(*_NO_HOOKS, "worktree", "add", "--detach", path, commit, cwd=project.repository.main)
    result = run_git(*_MERGE, *arguments, cwd=path, check=False)
    if result.returncode == 0:
        return []
    found = read_git("diff", "--name-only", "--diff-filter=U", "-z", cwd=path).split("\0")[:-1]
    if not found:
        message = "\n".join(filter(None, (result.stdout.strip(), result.stderr.strip())))
        hint = "nothing was changed; fix the problem, then run the same command"
        raise GitError("git merge failed", why=message, hint=hint)
    return [replace_undecodable(name) for name in found]


def _advance_base(repository: Repository, base: str, old: str, new: str) -> None:
    """Fast-forward *base* from *old* to *new*, including the files of the worktree that has it checked out."""
    # Checked again, because branches or files may have changed since the merge began.
    holder = _worktree_on(repository, base)
    # Ctrl-C waits, because it also reaches git, which would stop with half of the files changed.
    with uninterrupted():
        if holder is None:
            run_git("update-ref", "-m", f"merge: {new}", f"refs/heads/{base}", new, old, cwd=repository.main)
        else:
            run_git(*_MERGE, "--ff-only", "--no-overwrite-ignore", new, cwd=holder)


def _worktree_on(repository: Repository, base: str) -> Path | None:
    """
    Return the worktree that has *base* checked out, None if there is none.

    Raises:
        WorktreeError: If it has uncommitted changes, or *base* is being rebased.
    """
    for entry in list_worktrees(repository.main):
        if entry.branch is None and entry.path.exists() and _is_rebasing(entry.path, base):
            raise WorktreeError(
                f"`{base}` is being rebased in {entry.path}",
                hint=f"git -C {shlex.quote(str(entry.path))} rebase --continue",
            )
        if entry.branch == base:
            options = ("--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
            changes = read_git("-c", "core.fsmonitor=false", "status", *options, cwd=entry.path).splitlines()
            if changes:
                raise WorktreeError(
                    f"`{base}` is checked out at {entry.path}, with uncommitted changes",
                    why="\n".join([*changes[:_SHOWN], *(["…"] if len(changes) > _SHOWN else [])]),
                    hint=f"commit them, or stash them:\ngit -C {shlex.quote(str(entry.path))} stash",
                )
            return entry.path
    return None


def _is_rebasing(path: Path, branch: str) -> bool:
    """Whether the worktree at *path*, whose HEAD is detached, is rebasing *branch*."""
    directory = Path(read_git("rev-parse", "--absolute-git-dir", cwd=path))
    files = (directory / kind / "head-name" for kind in ("rebase-merge", "rebase-apply"))
    return any(file.exists() and file.read_text().strip() == f"refs/heads/{branch}" for file in files)
