"""
Save uncommitted work as a commit behind a reference, for worktrees that are removed anyway.

The commit's tree is the whole worktree: tracked, changed and untracked files, not the ignored
ones. Its parents are HEAD and, except in a conflict, a commit of the staged changes, as with `git
stash`. Of a repository inside the worktree only its HEAD is saved.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError
from tasks_lib.git.cli import git_succeeds, read_git, run_git

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.git.repository import Repository

_SETTINGS = {
    "user.name": "goldentree",
    "user.email": "goldentree@localhost",
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.safecrlf": "false",
    "submodule.recurse": "false",
    # In a sparse checkout git takes `skip-worktree`, which keeps the env file's password out of commits,
    # from every file that is there.
    "core.sparseCheckout": "false",
}


def save(path: Path, reference: str, *, message: str) -> str:
    """
    Commit everything in the worktree at *path* except ignored files, and point *reference* to that commit.

    Returns:
        The commit; HEAD itself if nothing is uncommitted.

    The worktree and its index do not change. No hook runs and nothing is signed.

    Raises:
        GitError: If it has no commit yet, or git cannot read something.
    """
    if not git_succeeds("rev-parse", "--verify", "--quiet", "HEAD", cwd=path):
        raise GitError(
            f"`{path}` has no commit yet that uncommitted work could be saved on", hint="commit the work there"
        )
    head = read_git("rev-parse", "--verify", "HEAD", cwd=path)
    committed = read_git("rev-parse", "HEAD^{tree}", cwd=path)
    staged, tree = write_trees(path)
    commit = head
    if {staged, tree} != {committed}:
        parents = ["-p", head]
        if staged is not None:
            parents += ["-p", run_plain_git(path, "commit-tree", "-p", head, "-m", f"{message} (staged)", staged)]
        commit = run_plain_git(path, "commit-tree", *parents, "-m", message, tree)
    run_plain_git(path, "update-ref", reference, commit)
    return commit


def restore(path: Path, commit: str) -> None:
    """
    Restore into *path*, a fresh checkout of the same HEAD, what `save` wrote as *commit*.

    Untracked files come back untracked, staged changes staged, deletions are deleted again. A
    conflict comes back as its files, no longer marked as one.

    Raises:
        GitError: If HEAD is a different commit, or a file in *path* is in the way. Nothing is overwritten.
    """
    head = read_git("rev-parse", "--verify", "HEAD", cwd=path)
    if commit == head:
        return
    above, *_ = parents = _parents(path, commit)
    if above != head:
        raise GitError(f"`{path}` is not at the commit that the work was saved on", hint=f"git switch --detach {above}")
    run_plain_git(path, "read-tree", "-m", "-u", "HEAD", commit)
    run_plain_git(path, "read-tree", "--reset", parents[-1])
    # Without `-q` it would fail for what is changed; left out, git would read every file at the next status.
    run_plain_git(path, "update-index", "-q", "--refresh")


def is_restored(path: Path, commit: str) -> bool:
    """
    Whether the worktree at *path* has everything that `save` wrote as *commit*, besides any other files.

    Raises:
        GitError: If git cannot read something.
    """
    head = read_git("rev-parse", "--verify", "HEAD", cwd=path)
    index = head if commit == head else _parents(path, commit)[-1]
    staged, tree = write_trees(path)
    if staged != read_git("rev-parse", f"{index}^{{tree}}", cwd=path):
        return False
    return _changed(path, head, commit).isdisjoint(_changed(path, commit, tree))


def delete(repository: Repository, reference: str) -> None:
    """Delete *reference*. git collects the commits that only it protected."""
    run_plain_git(repository.main, "update-ref", "-d", reference)


def write_trees(path: Path, scratch: dict[str, str] | None = None) -> tuple[str | None, str]:
    """
    Write what is staged, None in a conflict, and all that the worktree holds as trees; the index stays as it is.

    Args:
        scratch: As for `run_git`.
    """
    with copied_index(path) as index:
        conflict = run_plain_git(path, "ls-files", "--unmerged", index=index) != ""
        staged = None if conflict else run_plain_git(path, "write-tree", index=index, scratch=scratch)
        run_plain_git(path, "add", "--all", index=index, scratch=scratch)
        return staged, run_plain_git(path, "write-tree", index=index, scratch=scratch)


@contextmanager
def copied_index(path: Path) -> Iterator[Path]:
    """Yield a copy of the index of the worktree at *path*, for git to change."""
    with tempfile.TemporaryDirectory(prefix="goldentree-") as folder:
        index = Path(folder) / "index"
        own = path / read_git("rev-parse", "--git-path", "index", cwd=path)
        if own.exists():
            # With its time, by which git knows the entries that are younger than it and to be compared.
            shutil.copy2(own, index)
        yield index


def _changed(path: Path, old: str, new: str) -> set[str]:
    options = ("-r", "-z", "--name-only", "--no-renames", "--ignore-submodules=none")
    return set(read_git("diff-tree", *options, old, new, cwd=path).split("\0")[:-1])


def _parents(path: Path, commit: str) -> list[str]:
    """Return the HEAD that *commit* was saved on and, if there is one, the commit of what was staged."""
    return read_git("rev-parse", f"{commit}^@", cwd=path).splitlines()


def run_plain_git(
    path: Path, *arguments: str, index: Path | None = None, stdin: str = "", scratch: dict[str, str] | None = None
) -> str:
    """
    Run git without hooks and without settings that would change what is saved, and return its stdout.

    Raises:
        GitError: As `run_git`.
    """
    options = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
    return run_git(*options, *arguments, cwd=path, index=index, stdin=stdin, scratch=scratch).stdout.removesuffix("\n")
