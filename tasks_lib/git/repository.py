"""
A repository and its worktrees, as git lists them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tasks_lib.errors import GitError
from tasks_lib.git.cli import git_succeeds, read_git, run_git


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
    for block in read_git("worktree", "list", "--porcelain", cwd=cwd).split("\n\n"):
        row = dict(line.partition(" ")[::2] for line in block.splitlines())
        if "worktree" in row:
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
    return listed


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
        main = list_worktrees(cwd)[0]
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
                why="git does not know it for a submodule, or after `git init --separate-git-dir`",
                hint="work in a clone whose `.git` is a directory",
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

    def default_branch(self) -> str:
        """
        Return the short name of the default branch: what `origin/HEAD` points to, else the main worktree's own.

        Raises:
            GitError: If neither is known.
        """
        remote = run_git("symbolic-ref", "--short", "--quiet", "refs/remotes/origin/HEAD", cwd=self.main, check=False)
        if remote.returncode == 0:
            return remote.stdout.strip().removeprefix("origin/")
        local = run_git("config", "--get", "init.defaultBranch", cwd=self.main, check=False).stdout.strip()
        for name in filter(None, (local, "main", "master")):
            if self.has_branch(name):
                return name
        branch = read_git("rev-parse", "--abbrev-ref", "HEAD", cwd=self.main)
        if branch == "HEAD":
            raise GitError(
                "the default branch is unknown",
                why="there is no `main` or `master`, and the main worktree's HEAD is detached",
                hint=f"git -C {self.main} switch BRANCH",
            )
        return branch

    def has_branch(self, name: str) -> bool:
        """Whether there is a local branch *name*."""
        return git_succeeds("show-ref", "--verify", "--quiet", f"refs/heads/{name}", cwd=self.main)

    def commit(self, reference: str) -> str | None:
        """Return the commit that *reference* names, None if it names none."""
        found = run_git(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{reference}^{{commit}}",
            cwd=self.main,
            check=False,
        )
        return found.stdout.strip() if found.returncode == 0 else None
