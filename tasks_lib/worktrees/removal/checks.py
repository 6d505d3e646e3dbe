"""
Refuse a removal that would lose work.

If git cannot answer a question, the removal is refused. Stashes of the repository survive a removal and need no check.
Ignored files and hidden edits are not work that refuses: `unseen_files` keeps them.
"""

from __future__ import annotations

import filecmp
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError, WorktreeError
from tasks_lib.escaping import escape_line
from tasks_lib.git.cli import git_succeeds, read_git, run_git
from tasks_lib.git.merge_detection import find_merge_proof
from tasks_lib.git.remotes import find_default_branch
from tasks_lib.worktrees.steps.checkout import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from tasks_lib.git.repository import WorktreeEntry
    from tasks_lib.worktrees.project import Project

# Files in a worktree's administrative directory during an operation.
_OPERATIONS = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "sequencer": "a series of cherry-picks or reverts",
    "BISECT_LOG": "a bisection",
}

_SHOWN = 10


def require_removable(project: Project, entry: WorktreeEntry, others: Iterable[WorktreeEntry]) -> None:
    """
    Refuse to remove what not even `--force` removes.

    Args:
        others: All worktrees but this one.

    Raises:
        WorktreeError: If it is the main worktree, is being created, is locked, contains the current directory or
            another worktree, or if something else is in its place.
    """
    path, locked = entry.path, entry.locked
    if path == project.repository.main:
        raise WorktreeError(f"{path} is the main worktree", why="it is the repository itself")
    if locked == UNFINISHED:
        # Without a record it is another program's, and our own creation would refuse its branch.
        ours = next((record for record in project.registry.records() if record.path == str(path)), None)
        raise WorktreeError(
            f"the worktree {path} is being created, or its creation was interrupted",
            hint=f"to finish it, run:\ninv worktree.create {ours.identity.branch}"
            if ours
            else f"wait for the other program or, if it has ended, run:\ngit worktree unlock {shlex.quote(str(path))}",
        )
    if locked is not None:
        raise WorktreeError(
            f"the worktree {path} is locked{f': {locked}' if locked else ''}",
            why="--force does not override a lock",
            hint=f"git worktree unlock {shlex.quote(str(path))}",
        )
    current = Path(os.path.realpath(Path.cwd()))
    if current.is_relative_to(path):
        raise WorktreeError(
            f"the current directory is in {path}",
            why="this shell's directory would be deleted",
            hint="change to another directory first",
        )
    inside = next((other.path for other in others if path in other.path.parents), None)
    if inside is not None:
        raise WorktreeError(
            f"{path} contains the worktree {inside}", why="both would be deleted", hint=f"git worktree move {inside} TO"
        )
    if os.path.lexists(path):
        require_same_worktree(project, path)


def require_nothing_lost(project: Project, entry: WorktreeEntry, not_work: Container[str] = ()) -> None:
    """
    Refuse while the worktree holds work that exists nowhere else. `require_merged` checks its branch.

    A worktree whose directory is gone may still be on commits that no branch holds.

    Args:
        not_work: Untracked files, relative to the worktree, that do not count as work. Copies of the main
            worktree's files never count.

    Raises:
        WorktreeError: If a git operation is in progress, if anything is uncommitted in the worktree or a submodule,
            if no branch holds its commits, or if git cannot tell.
    """
    path, main = entry.path, project.repository.main
    try:
        if path.exists():
            _require_no_operation(path)
            _require_no_changes(path, main, not_work)
        saved = entry.branch or _holders(main, entry.head or "HEAD")
    except (GitError, OSError) as error:
        raise WorktreeError(
            f"cannot determine whether {path} has uncommitted work", why=str(error), hint="check it, then pass --force"
        ) from None
    if not saved:
        raise WorktreeError(
            f"no branch holds the commits that {path} is on",
            why="its HEAD is detached, and git would delete them",
            hint=f"pass --force, or give them a branch:\ngit branch BRANCH {entry.head}",
        )


def require_saveable(path: Path) -> None:
    """
    Refuse while a repository within the worktree at *path* holds work, which `uncommitted.save` does not save.

    Raises:
        WorktreeError: If so, or if git cannot tell.
    """
    try:
        # git lists a directory itself, not its files, only if it is a repository.
        nested = [path / change[3:] for change in _changes(path) if change.startswith("?? ") and change.endswith("/")]
        modules = [*_submodules(path), *nested]
        module = next((module for module in modules if _changes(module) or not _is_pushed(module)), None)
    except (GitError, OSError) as error:
        raise WorktreeError(
            f"cannot determine whether {path} has uncommitted work",
            why=str(error),
            hint=f"fix that, or move {path} elsewhere, then run the same command",
        ) from None
    if module is not None:
        raise WorktreeError(
            f"{module.relative_to(path)} in {path} is a repository with work that none of its remotes has",
            why="--force saves the worktree's uncommitted work, but not that of repositories within it",
            hint=f"push it from {module}, or move that directory elsewhere",
        )


def require_merged(project: Project, branch: str, tip: str) -> None:
    """
    Refuse to delete a branch if no other branch would have its commits.

    A branch is safe to delete when the default branch or the base branch, here or on a remote, has its commits, also
    squashed or rebased, or when a remote has them under the branch's name as of the last fetch. A deleted upstream
    branch proves nothing.

    Raises:
        WorktreeError: If commits would be lost.
        GitError: If git cannot tell.
    """
    main, trunks = project.repository.main, sorted({find_default_branch(project.repository), project.base_branch})
    patterns = [f"{place}/{trunk}" for trunk in trunks for place in ("refs/heads", "refs/remotes/*")]
    patterns.append(f"refs/remotes/*/{branch}")
    targets = read_git("for-each-ref", "--format=%(refname)", *patterns, cwd=main).splitlines()
    if any(find_merge_proof(project.repository, tip, target) for target in targets):
        return
    raise WorktreeError(
        f"branch `{branch}` has commits that are neither in {' or '.join(f'`{trunk}`' for trunk in trunks)} nor pushed",
        why=read_git("log", "--oneline", f"--max-count={_SHOWN}", tip, "--not", *targets, cwd=main),
        hint="merge or push it, let `worktree.base` name the branch that it was merged into, or pass --keep-branch or "
        "--force",
    )


def require_same_worktree(project: Project, path: Path) -> None:
    """
    Refuse unless the worktree at *path* and its administrative directory point to each other.

    Raises:
        WorktreeError: If they do not, or if they cannot be read.
    """
    try:
        directory = path / (path / ".git").read_text().removeprefix("gitdir:").strip()
        back = directory / (directory / "gitdir").read_text().rstrip("\n")
        common = os.path.realpath(project.repository.common / "worktrees")
        mutual = back.samefile(path / ".git")
    except (OSError, ValueError) as error:
        why = str(error)
    else:
        if mutual and os.path.realpath(directory.parent) == common:
            return
        if mutual:
            raise WorktreeError(
                f"the worktree {path} belongs to another repository",
                why=f"its .git points to {directory}: this repository was copied from that one",
                hint=f"in {common}, delete the directory whose `gitdir` names {path}, then run:\ninv worktree.gc --yes",
            )
        why = f"its .git points to {directory}"
    raise WorktreeError(
        f"cannot determine whether {path} is still the worktree that was created there",
        why=f"{why}\nit may be something else, so not even --force deletes it",
        hint=f"move {path} elsewhere and run the same command, or repair it:\n"
        f"git worktree repair {shlex.quote(str(path))}",
    )


def _require_no_operation(path: Path) -> None:
    directory = Path(read_git("rev-parse", "--absolute-git-dir", cwd=path))
    operation = next((what for file, what in _OPERATIONS.items() if (directory / file).exists()), None)
    if operation:
        raise WorktreeError(f"{operation} is in progress in {path}", hint="finish it there, or pass --force")


def _require_no_changes(path: Path, main: Path, not_work: Container[str]) -> None:
    changes = [
        change
        for change in _changes(path)
        if not (change.startswith("?? ") and (change[3:] in not_work or is_copy(path / change[3:], main / change[3:])))
    ]
    for module in _submodules(path):
        inside = module.relative_to(path)
        changes += [f"{change[:3]}{inside}/{change[3:]}" for change in _changes(module)]
        if not changes and not _is_pushed(module):
            raise WorktreeError(
                f"submodule {inside} in {path} has commits or stashes that none of its remotes has",
                why="its repository would be deleted with the worktree",
                hint=f"push them from {module}, or pass --force",
            )
    if changes:
        shown = [escape_line(change) for change in changes[:_SHOWN]]
        raise WorktreeError(
            f"{path} holds {len(changes)} uncommitted change{'s' if len(changes) > 1 else ''}",
            why="\n".join([*shown, *(["…"] if len(changes) > _SHOWN else [])]),
            hint="commit them, pass --force, or stash them:\n"
            f"git -C {shlex.quote(str(path))} stash --include-untracked",
        )


def _changes(path: Path) -> list[str]:
    """Return changed and untracked files, as `XY name`. A submodule is changed only if it is at another commit."""
    options = ("--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty")
    # A file system monitor that has died would hide changes.
    result = run_git("-c", "core.fsmonitor=false", "status", *options, cwd=path)
    if "could not open directory" in result.stderr:
        raise GitError("git cannot read every directory", why=result.stderr.strip())
    return result.stdout.split("\0")[:-1]


def is_copy(path: Path, original: Path) -> bool:
    """Whether *path* links to *original* or has the same content, so that nothing is lost with it."""
    if path.is_symlink():
        same_text = original.is_symlink() and path.readlink() == original.readlink()
        return same_text or (original.exists() and path.resolve() == original.resolve())
    return path.is_file() and original.is_file() and filecmp.cmp(path, original, shallow=False)


def _submodules(path: Path) -> Iterator[Path]:
    """
    Yield every initialised submodule, recursively.

    Raises:
        GitError: If one is not initialised but holds files, which git does not list.
    """
    for line in read_git("ls-files", "--stage", "-z", cwd=path).split("\0"):
        if not line.startswith("160000 "):
            continue
        module = path / line.partition("\t")[2]
        if os.path.lexists(module / ".git"):
            yield module
            yield from _submodules(module)
        elif module.is_dir() and any(module.iterdir()):
            raise GitError(f"submodule {module} is not initialised, but holds files")


def _is_pushed(module: Path) -> bool:
    if git_succeeds("show-ref", "--verify", "--quiet", "refs/stash", cwd=module):
        return False
    return not read_git("rev-list", "--max-count=1", "HEAD", "--branches", "--not", "--remotes", cwd=module)


def _holders(main: Path, commit: str) -> str:
    """Return the name of a ref that contains *commit*, empty if there is none."""
    places = ("refs/heads", "refs/remotes", "refs/tags")
    return read_git("for-each-ref", "--count=1", "--contains", commit, *places, cwd=main)
