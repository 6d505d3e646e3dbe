"""
List the submodules of a worktree, and clone those that it lacks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.git.cli import read_git, run_git, transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def list_submodules(path: Path) -> dict[Path, str]:
    """Return the submodules that the index of the worktree at *path* has, and the commit of each."""
    if not (path / ".gitmodules").is_file():
        return {}
    options = ("config", "--null", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$")
    # Status 1 is "no such key".
    rows = run_git(*options, cwd=path, check=False).stdout.split("\0")[:-1]
    names = [row.partition("\n")[2] for row in rows]
    return _read_gitlinks(path, "ls-files", "--stage", "-z", "--", *names) if names else {}


def list_saved_submodules(path: Path, commit: str, modules: Sequence[Path]) -> dict[Path, str]:
    """Return the commit that *commit* has for each of *modules* of the worktree at *path*."""
    names = [str(module.relative_to(path)) for module in modules]
    return _read_gitlinks(path, "ls-tree", "-z", commit, "--", *names) if names else {}


def is_initialised(module: Path) -> bool:
    """Whether the submodule at *module* was cloned."""
    return os.path.lexists(module / ".git")


def clone_submodule(path: Path, module: Path, like: Path | None, report: Callable[[str], None], *, hint: str) -> None:
    """
    Clone the submodule *module* of the worktree at *path*, and check out its commit.

    Args:
        like: The same submodule in another worktree, whose objects are copied instead of downloaded. If it is given,
            submodules in the submodule are cloned only if it has some.
        report: As for `transfer`.
        hint: What to do if it fails.

    Raises:
        GitError: If it cannot be cloned.
    """
    options = ["--init", "--progress"]
    if like is None or any(map(is_initialised, list_submodules(like))):
        options.append("--recursive")
    if like is not None:
        directory = Path(read_git("rev-parse", "--absolute-git-dir", cwd=like))
        # git refuses to copy from a shallow clone.
        if not (directory / "shallow").exists():
            options += ["--reference", str(directory), "--dissociate"]
    transfer("submodule", "update", *options, "--", module.relative_to(path), cwd=path, report=report, hint=hint)


def move_submodule(module: Path, commit: str, report: Callable[[str], None], *, hint: str) -> None:
    """
    Check out *commit* in the submodule at *module*, fetching it if necessary.

    Raises:
        GitError: If that fails.
    """
    found = run_git("cat-file", "-e", f"{commit}^{{commit}}", cwd=module, check=False)
    if found.returncode != 0:
        transfer("fetch", "--all", "--progress", cwd=module, report=report, hint=hint)
    run_git("checkout", "--quiet", "--detach", commit, cwd=module)


def _read_gitlinks(path: Path, *command: str) -> dict[Path, str]:
    """Return path and commit of the submodules among what `git ls-files --stage` or `git ls-tree` lists."""
    rows = [row.partition("\t") for row in read_git("--literal-pathspecs", *command, cwd=path).split("\0")[:-1]]
    entries = [(fields.split(), name) for fields, _, name in rows]
    # `ls-tree` prints the type before the commit, `ls-files` the stage after it.
    return {
        path / name: next(word for word in fields[1:] if len(word) >= 40)
        for fields, name in entries
        if fields[0] == "160000"
    }
