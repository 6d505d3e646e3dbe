"""
List what `git status` does not show: ignored files, and edits that git is set to overlook.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.uncommitted import copied_index, run_plain_git

if TYPE_CHECKING:
    from pathlib import Path

_OPTIONS = ("skip-worktree", "assume-unchanged")


def list_ignored(path: Path) -> list[str]:
    """
    Return the ignored files of the worktree at *path*; a folder that is ignored as a whole has a slash at its end.

    Raises:
        GitError: If git cannot list them.
    """
    listing = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    return read_git(*listing, cwd=path).split("\0")[:-1]


def list_hidden_edits(path: Path) -> dict[str, str]:
    """
    Return the changed files that are marked `skip-worktree` or `assume-unchanged`, with their tags.

    The tag is that of `git ls-files -v`: `S` or `s` for skip-worktree, a small letter for assume-unchanged. Files that
    do not exist, such as those outside of a sparse checkout, are left out.

    Raises:
        GitError: If git cannot tell.
    """
    lines = (line.partition(" ") for line in read_git("ls-files", "-v", "-z", cwd=path).split("\0")[:-1])
    tags = {name: tag for tag, _, name in lines if (tag == "S" or tag.islower()) and os.path.lexists(path / name)}
    if not tags:
        return {}
    names = "".join(f"{name}\0" for name in tags)
    with copied_index(path) as index:
        for option in _OPTIONS:
            run_plain_git(path, "update-index", f"--no-{option}", "-z", "--stdin", index=index, stdin=names)
        run_plain_git(path, "update-index", "-q", "--refresh", index=index)
        changed = run_plain_git(path, "diff-files", "--name-only", "-z", index=index).split("\0")
    return {name: tags[name] for name in changed if name in tags}


def hide_edit(path: Path, name: str, tag: str) -> None:
    """
    Mark the file *name* of the worktree at *path* as `list_hidden_edits` found it.

    Raises:
        GitError: If git does not track it.
    """
    for option, is_set in zip(_OPTIONS, (tag in "Ss", tag.islower()), strict=True):
        if is_set:
            run_git("update-index", f"--{option}", "--", name, cwd=path)
