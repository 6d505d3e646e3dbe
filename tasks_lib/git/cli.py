"""
git, called so that nothing around us changes what it does.

Argument lists only, machine-readable output only, no inherited `GIT_DIR`. Errors keep git's own words.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Inside a hook git exports GIT_DIR, GIT_INDEX_FILE, GIT_WORK_TREE and friends, which would send our
# calls to another repository (the damage per variable: pre-commit's git.py, no_git_env). What people
# set on purpose (transport, authorship, configuration such as a container's safe.directory) stays.
_KEPT = ("GIT_SSH", "GIT_ASKPASS", "GIT_EXEC_PATH", "GIT_SSL_", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_TRACE")
_KEPT_CONFIG = ("GLOBAL", "SYSTEM", "NOSYSTEM", "COUNT", "KEY_", "VALUE_")

CALLER = {"GOLDENTREE": "1"}
"""Tells a hook of git's that calls us that we are at work already."""


def environment() -> dict[str, str]:
    """Return the process environment without what points git at some repository, and without prompts."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_") or key.startswith((*_KEPT, *(f"GIT_CONFIG_{name}" for name in _KEPT_CONFIG)))
    }
    # LANGUAGE outranks LC_ALL in every locale but plain C, and we read git's words.
    return {**kept, **CALLER, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", "LANGUAGE": ""}


_HALF_WRITTEN = re.compile(r"failed to read .*worktrees/[^/]+/commondir")
"""
What git dies of when it looks through the worktrees while another process makes one.

The file is there before its content is (setup.c, get_common_dir_noenv); seen with eight at once.
"""

_ATTEMPTS = 20
_PAUSE = 0.025


def run(
    *arguments: str | Path, cwd: Path, check: bool = True, stdin: str = "", index: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """
    Run git with *arguments* in *cwd*, on the worktree's own index or on the file *index*.

    Raises:
        GitError: If git is not installed, or exits with another status than 0 while *check* is on.
    """
    for _ in range(_ATTEMPTS):
        try:
            result = subprocess.run(
                ["git", *map(str, arguments)],
                cwd=cwd,
                env=environment() | ({"GIT_INDEX_FILE": str(index)} if index else {}),
                input=stdin,
                capture_output=True,
                text=True,
                errors="surrogateescape",
                check=False,
            )
        except FileNotFoundError as error:
            what = "git is not installed" if error.filename == "git" else f"there is no directory `{cwd}`"
            raise GitError(what) from None
        if result.returncode == 0 or not _HALF_WRITTEN.search(result.stderr):
            break
        time.sleep(_PAUSE)
    if check and result.returncode != 0:
        said = (result.stderr or result.stdout).strip()
        raise GitError(f"git {_verb(arguments)} failed with status {result.returncode}", why=said)
    return result


def output(*arguments: str | Path, cwd: Path) -> str:
    """
    Return git's stdout without the trailing newline.

    Raises:
        GitError: As `run`.
    """
    return run(*arguments, cwd=cwd).stdout.removesuffix("\n")


def succeeds(*arguments: str | Path, cwd: Path) -> bool:
    """
    Return the answer of a question that git answers by exit status: 0 yes, 1 no.

    Raises:
        GitError: On any other status: a question that could not be answered is not a no.
    """
    result = run(*arguments, cwd=cwd, check=False)
    if result.returncode not in (0, 1):
        raise GitError(f"git {_verb(arguments)} failed with status {result.returncode}", why=result.stderr.strip())
    return result.returncode == 0


def _verb(arguments: Sequence[str | Path]) -> str:
    """Return git's subcommand; options before it may have values of the form `key=value`."""
    return next(word for word in map(str, arguments) if not word.startswith("-") and "=" not in word)


@dataclass(frozen=True)
class Listed:
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


def worktrees(cwd: Path) -> list[Listed]:
    """
    Return all worktrees of the repository around *cwd*, the main one first.

    Raises:
        GitError: If git cannot list them.
    """
    listed = []
    for block in output("worktree", "list", "--porcelain", cwd=cwd).split("\n\n"):
        row = dict(line.partition(" ")[::2] for line in block.splitlines())
        if "worktree" in row:
            branch = row.get("branch")
            listed.append(
                Listed(
                    # git tells the path that it was made at, where there may be a link by now.
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
        here: The worktree that the directory lies in.
    """

    common: Path
    main: Path
    here: Path

    @classmethod
    def find(cls, cwd: Path) -> Repository:
        """
        Find the repository around *cwd*.

        Raises:
            GitError: If there is none, it is bare, it has no commit yet, or its main worktree cannot be found.
        """
        probe = run("rev-parse", "--path-format=absolute", "--git-common-dir", cwd=cwd, check=False)
        if probe.returncode != 0:
            if "not a git repository" in probe.stderr:
                raise GitError(f"`{cwd}` is not in a git repository", hint="cd into one, or `git init`")
            raise GitError(f"git cannot read the repository at `{cwd}`", why=probe.stderr.strip())
        common = Path(probe.stdout.removesuffix("\n"))
        main = worktrees(cwd)[0]
        if main.bare:
            raise GitError(
                f"`{main.path}` is a bare repository",
                why="there is no main worktree to take settings and the env file from",
                hint=f"git clone {main.path} and work there",
            )
        if main.path == common:
            # git derives the main worktree from the common directory's name (worktree.c, get_main_worktree).
            raise GitError(
                f"the main worktree of `{common}` cannot be found",
                why="git does not tell it for a submodule, or after `git init --separate-git-dir`",
                hint="work in a clone whose `.git` is a directory",
            )
        if main.head is None or not main.head.strip("0"):
            raise GitError(
                f"`{main.path}` has no commit yet",
                why="a worktree needs one to start from",
                hint='git add --all && git commit -m "Start"',
            )
        here = output("rev-parse", "--path-format=absolute", "--show-toplevel", cwd=cwd)
        return cls(common=common, main=main.path, here=Path(here))

    @property
    def linked(self) -> bool:
        """Whether we stand in a linked worktree."""
        return self.here != self.main

    def default_branch(self) -> str:
        """
        Return the short name of the default branch: what `origin/HEAD` points to, else the main worktree's own.

        Raises:
            GitError: If neither can be told.
        """
        remote = run("symbolic-ref", "--short", "--quiet", "refs/remotes/origin/HEAD", cwd=self.main, check=False)
        if remote.returncode == 0:
            return remote.stdout.strip().removeprefix("origin/")
        local = run("config", "--get", "init.defaultBranch", cwd=self.main, check=False).stdout.strip()
        for name in filter(None, (local, "main", "master")):
            if self.has_branch(name):
                return name
        branch = output("rev-parse", "--abbrev-ref", "HEAD", cwd=self.main)
        if branch == "HEAD":
            raise GitError(
                "the default branch is unknown",
                why="there is no `main` or `master`, and the main worktree's HEAD is detached",
                hint=f"git -C {self.main} switch BRANCH",
            )
        return branch

    def has_branch(self, name: str) -> bool:
        """Whether there is a local branch *name*."""
        return succeeds("show-ref", "--verify", "--quiet", f"refs/heads/{name}", cwd=self.main)

    def commit(self, reference: str) -> str | None:
        """Return the commit that *reference* names, None if it names none."""
        found = run(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{reference}^{{commit}}",
            cwd=self.main,
            check=False,
        )
        return found.stdout.strip() if found.returncode == 0 else None
