"""
Refuse branch names that would cause failures later.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.repository import list_worktrees

if TYPE_CHECKING:
    from tasks_lib.git.repository import Repository

LONGEST_BYTES = 200
"""File systems limit names to 255 bytes; git adds `.lock`, and the worktree's directory the repository's name."""


def require_plain_name(repository: Repository, branch: str) -> None:
    """
    Refuse a name that git, Postgres or a file system would mangle.

    Raises:
        BranchError: If so, with the reason.
    """
    _require_plain(branch)
    if run_git("check-ref-format", f"refs/heads/{branch}", cwd=repository.main, check=False).returncode != 0:
        raise BranchError(f"`{branch}` is not a branch name that git accepts", hint="git help check-ref-format")


def require_free_branch(repository: Repository, branch: str) -> None:
    """
    Refuse a branch that cannot have a new worktree.

    Raises:
        BranchError: If it is checked out already, or conflicts with another branch.
    """
    _require_no_conflict(repository, branch)
    for listed in list_worktrees(repository.main):
        if listed.branch == branch:
            raise BranchError(
                f"branch `{branch}` is checked out at {listed.path} already",
                why="git allows one worktree per branch",
                hint="cd there, or choose another branch",
            )


def _require_plain(branch: str) -> None:
    shown = branch.encode("ascii", "backslashreplace").decode()
    if branch.startswith("-"):
        raise BranchError(f"branch name `{shown}` starts with a dash", why="git and psql would read it as an option")
    if len(branch.encode(errors="surrogateescape")) > LONGEST_BYTES:
        raise BranchError(
            f"branch name `{shown[:40]}…` is longer than {LONGEST_BYTES} bytes",
            why="the worktree's directory could not be named after it",
        )
    if branch in ("HEAD", "@"):
        raise BranchError(f"`{branch}` is what git calls the current commit, not a branch name")
    odd = [
        character
        for character in branch
        if not character.isascii() and unicodedata.category(character)[0] not in ("L", "M", "N")
    ]
    if odd:
        raise BranchError(
            f"branch name `{shown}` contains a character that is not a letter, a digit or ASCII punctuation",
            why=f"{', '.join(unicodedata.name(character, repr(character)) for character in odd)}: "
            "file systems and terminals treat it differently",
            hint="choose a name of letters, digits, `-`, `_`, `.` and `/`",
        )


def _require_no_conflict(repository: Repository, branch: str) -> None:
    """Refuse `feat/a` beside `feat`, and `feat` beside `feat/a`: a file cannot be a directory as well."""
    parents = [branch[:end] for end, character in enumerate(branch) if character == "/"]
    blocker = next((parent for parent in parents if repository.has_branch(parent)), None)
    if blocker is None:
        below = read_git(
            "for-each-ref", "--count=1", "--format=%(refname:short)", f"refs/heads/{branch}/", cwd=repository.main
        )
        blocker = below or None
    if blocker is not None:
        raise BranchError(
            f"branch `{branch}` cannot exist beside branch `{blocker}`",
            why="git stores branches as files: a name cannot be a file and a directory",
            hint=f"choose another name, or rename the other branch:\ngit branch -m {blocker} NEW",
        )
