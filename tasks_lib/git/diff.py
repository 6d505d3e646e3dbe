"""
What a branch has changed since it diverged from another one, as text for people and as numbers for programs.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError
from tasks_lib.git import uncommitted
from tasks_lib.git.cli import objects_elsewhere, run_git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tasks_lib.git.repository import Repository

# Plumbing ignores `diff.*`, whose prefixes and colours would break programs that parse the patch.
_DIFF = ("-c", "core.quotePath=false", "diff-tree", "-r", "--no-ext-diff", "--ignore-submodules=none")


@dataclass(frozen=True)
class ChangedFile:
    """A file, and how many lines were added and removed; None for a binary one."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True)
class Diff:
    """
    Two states of a repository's files.

    Attributes:
        old: A commit.
        new: A commit or tree.
        scratch: Where git finds trees that are not in the repository, as `objects_elsewhere` says.
    """

    repository: Repository
    old: str
    new: str
    scratch: dict[str, str]

    def patch(self) -> str:
        """Return the patch. Bytes that are not UTF-8 are surrogates, so that it can be applied."""
        return self._git("--patch", "--find-renames", "--no-color")

    def stat(self) -> str:
        """Return one line per file, and the totals."""
        return replace_undecodable(self._git("--stat", "--find-renames"))

    def files(self) -> list[ChangedFile]:
        """Return the files. A renamed file is listed as removed and as added."""
        text = replace_undecodable(self._git("--numstat", "--no-renames", "-z"))
        rows = (row.split("\t", 2) for row in text.split("\0")[:-1])
        return [ChangedFile(path, _count(added), _count(removed)) for added, removed, path in rows]

    def _git(self, *options: str) -> str:
        command = (*_DIFF, *options, self.old, self.new)
        return run_git(*command, cwd=self.repository.main, scratch=self.scratch).stdout.removesuffix("\n")


@contextmanager
def diff_since(repository: Repository, base: str, branch: str, at: Path | None = None) -> Iterator[Diff]:
    """
    Give what *branch* has changed since it diverged from *base*. Writes nothing into the repository.

    Args:
        base: A branch or commit.
        at: The worktree of *branch*, to include its uncommitted work and untracked files.

    Raises:
        BranchError: If one of them does not exist, or they have no common history.
    """
    tip, other = repository.commit(f"refs/heads/{branch}"), repository.commit(base)
    if tip is None or other is None:
        missing = branch if tip is None else base
        raise BranchError(
            f"branch `{missing}` does not exist", why="it may have been deleted or renamed", hint="git branch --list"
        )
    parted = run_git("merge-base", other, tip, cwd=repository.main, check=False).stdout.strip()
    if not parted:
        raise BranchError(f"`{branch}` and `{base}` have no common history")
    with objects_elsewhere(repository.common) as scratch:
        yield Diff(repository, parted, uncommitted.write_trees(at, scratch)[1] if at else tip, scratch)


def replace_undecodable(text: str) -> str:
    """Return git's output with a replacement character for bytes that are not UTF-8, which cannot be printed."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _count(number: str) -> int | None:
    return None if number == "-" else int(number)
