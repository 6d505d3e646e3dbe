"""
A repository and its worktrees, as git lists them.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from tasks_lib.errors import GitError
from tasks_lib.git.cli import git_succeeds, read_git, run_git, work_in

_USAGE = 129
"""git's exit status for an option that it does not know."""


@dataclass(frozen=True)
class WorktreeEntry:
    """
    One row of `git worktree list`.

    Attributes:
        branch: The short name, None when HEAD is detached.
        locked: The reason of the lock, possibly empty; None when it is not locked.
    """

    path: Path
    branch: str | None
    head: str | None
    locked: str | None
    bare: bool


def list_worktrees(cwd: Path) -> list[WorktreeEntry]:
    """
    Return all worktrees of the repository around *cwd*, the main one first.

    Raises:
        GitError: If git cannot list them.
    """
    listed = []
    for block in _worktree_blocks(cwd):
        row = dict(line.partition(" ")[::2] for line in block)
        branch = row.get("branch")
        listed.append(
            WorktreeEntry(
                # git prints the path at creation, which may be a link since then.
                path=Path(os.path.realpath(row["worktree"])),
                branch=branch.removeprefix("refs/heads/") if branch else None,
                head=row.get("HEAD"),
                locked=row.get("locked"),
                bare="bare" in row,
            )
        )
    listed[0] = replace(listed[0], path=_main_worktree(listed[0].path))
    return listed


def _worktree_blocks(cwd: Path) -> list[list[str]]:
    """Return the lines of `git worktree list`, one list for each worktree."""
    command = ("worktree", "list", "--porcelain")
    result, separator = run_git(*command, "-z", cwd=cwd, check=False), "\0"
    if result.returncode == _USAGE:  # before git 2.36
        _require_paths_without_newlines(cwd)
        result, separator = run_git(*command, cwd=cwd), "\n"
    if result.returncode != 0:
        raise GitError(f"git worktree failed with status {result.returncode}", why=result.stderr.strip())
    blocks = result.stdout.removesuffix(separator * 2).split(separator * 2)
    return [block.split(separator) for block in blocks]


def _require_paths_without_newlines(cwd: Path) -> None:
    """Refuse a repository in whose list of worktrees, printed in lines, one path would look like another one."""
    common = Path(read_git("rev-parse", "--path-format=absolute", "--git-common-dir", cwd=cwd))
    pointers = [os.fsdecode(file.read_bytes()).rstrip("\n") for file in common.glob("worktrees/*/gitdir")]
    odd = next((path for path in [str(common), *pointers] if "\n" in path), None)
    if odd is not None:
        raise GitError(
            f"the path {odd!r} contains a newline",
            why="git before 2.36 cannot list such a worktree unambiguously",
            hint="move the worktree, or install git 2.36 or later",
        )


def _main_worktree(path: Path) -> Path:
    """Return the main worktree, also if its `.git` is a link to the directory *path* beside it."""
    # git takes the git directory itself for the main worktree then (worktree.c, get_main_worktree). People make
    # such a link to keep iCloud or Dropbox out: `.git -> .git.nosync`.
    link = path.parent / ".git"
    return path.parent if link.is_symlink() and Path(os.path.realpath(link)) == path else path


@dataclass(frozen=True)
class Repository:
    """
    The repository around a directory.

    Attributes:
        common: The git common directory, shared by all worktrees.
        main: The main worktree.
        current: The current worktree, which contains the directory.
    """

    common: Path
    main: Path
    current: Path

    @classmethod
    def find(cls, cwd: Path) -> Repository:
        """
        Find the repository around *cwd*.

        Raises:
            GitError: If *cwd* is not in a repository, or that is bare, has no commit or no main worktree.
        """
        probe = run_git("rev-parse", "--path-format=absolute", "--git-common-dir", cwd=cwd, check=False)
        if probe.returncode != 0:
            if "not a git repository" in probe.stderr:
                raise GitError(f"`{cwd}` is not in a git repository", hint="cd into one, or `git init`")
            raise GitError(f"git cannot read the repository at `{cwd}`", why=probe.stderr.strip())
        common = Path(probe.stdout.removesuffix("\n"))
        work_in(common)
        main = list_worktrees(cwd)[0]
        if main.bare and (common / "index").exists():
            scope = read_git("config", "--show-scope", "--get", "core.bare", cwd=cwd).partition("\t")[0]
            option = "--worktree " if scope == "worktree" else ""
            raise GitError(
                f"git takes `{main.path}` for a bare repository, although it has a checkout",
                why="another program has set core.bare to true",
                hint=f"git -C {shlex.quote(str(main.path))} config {option}core.bare false",
            )
        if main.bare:
            raise GitError(
                f"`{main.path}` is a bare repository",
                why="settings and the env file are read from a main worktree, which it lacks",
                hint=f"work in a clone:\ngit clone {main.path}",
            )
        if main.path == common:
            # git derives the main worktree from the common directory's name (worktree.c, get_main_worktree).
            raise GitError(
                f"the main worktree of `{common}` cannot be found",
                why="git does not know it for a submodule, after `git init --separate-git-dir`, or if `.git` is a link "
                "to a directory elsewhere",
                hint="work in a clone whose `.git` is a directory, or a link to a directory beside it",
            )
        if main.head is None or not main.head.strip("0"):
            raise GitError(
                f"`{main.path}` has no commit yet",
                why="a worktree needs one to start from",
                hint='git add --all && git commit -m "Start"',
            )
        here = read_git("rev-parse", "--path-format=absolute", "--show-toplevel", cwd=cwd)
        return cls(common=common, main=main.path, current=Path(here))

    @property
    def linked(self) -> bool:
        """Whether the current worktree is a linked one."""
        return self.current != self.main

    def has_branch(self, name: str) -> bool:
        """Whether there is a local branch *name*."""
        return git_succeeds("show-ref", "--verify", "--quiet", f"refs/heads/{name}", cwd=self.main)

    def commit(self, reference: str, *, cwd: Path | None = None) -> str | None:
        """
        Return the commit that *reference* names, None if it names none.

        Args:
            cwd: The worktree whose HEAD is meant, by default the main one.
        """
        found = run_git(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{reference}^{{commit}}",
            cwd=cwd or self.main,
            check=False,
        )
        return found.stdout.strip() if found.returncode == 0 else None
