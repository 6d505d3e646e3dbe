"""
Remotes: which branches they have as of the last fetch, and which of them a local branch tracks.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError
from tasks_lib.git.cli import read_git, run_git, transfer
from tasks_lib.output import format_age

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.git.repository import Repository

REMOTES = "refs/remotes/"
"""Where the branches of remotes are, as of the last fetch."""


@dataclass(frozen=True)
class Tracking:
    """
    What `git pull` fetches for a branch.

    Attributes:
        remote: Its name (`branch.<name>.remote`).
        ref: The full name of the ref there (`branch.<name>.merge`).
    """

    remote: str
    ref: str


@dataclass(frozen=True)
class Remotes:
    """
    The remotes of a repository.

    Attributes:
        names: In the order of the configuration.
        preferred: `checkout.defaultRemote`, if a remote has that name.
    """

    names: tuple[str, ...]
    preferred: str | None


def read_remotes(repository: Repository) -> Remotes:
    """Return the remotes that are configured."""
    pattern = r"^(remote\..*\.url|checkout\.defaultremote)$"
    # Status 1 is "no such key".
    said = run_git("config", "--null", "--get-regexp", pattern, cwd=repository.main, check=False).stdout
    rows = dict(row.partition("\n")[::2] for row in said.split("\0")[:-1])
    preferred = rows.pop("checkout.defaultremote", None)
    names = tuple(key.removeprefix("remote.").removesuffix(".url") for key in rows)
    return Remotes(names, preferred if preferred in names else None)


def find_main_remote(repository: Repository) -> str | None:
    """
    Return the remote that has the default branch, None if that is not clear.

    That is `checkout.defaultRemote`, else `origin`, else the only remote, else the one that the main worktree's branch
    tracks.
    """
    remotes = read_remotes(repository)
    if remotes.preferred or len(remotes.names) < 2 or "origin" in remotes.names:
        return remotes.preferred or next((name for name in ("origin", *remotes.names) if name in remotes.names), None)
    current = run_git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=repository.main, check=False).stdout.strip()
    tracking = read_tracking(repository, current) if current else None
    return tracking.remote if tracking and tracking.remote in remotes.names else None


def find_default_branch(repository: Repository) -> str:
    """
    Return the short name of the default branch: what the main remote's HEAD points to, else the main worktree's own.

    Raises:
        GitError: If neither is known.
    """
    main, remote = repository.main, find_main_remote(repository)
    if remote:
        # Prints nothing for a HEAD whose branch was deleted on the remote.
        head = read_git("for-each-ref", "--format=%(symref)", f"{REMOTES}{remote}/HEAD", cwd=main)
        if head:
            return head.removeprefix(f"{REMOTES}{remote}/")
    local = run_git("config", "--get", "init.defaultBranch", cwd=main, check=False).stdout.strip()
    for name in filter(None, (local, "main", "master")):
        if repository.has_branch(name) or (remote and repository.commit(f"{REMOTES}{remote}/{name}")):
            return name
    branch = read_git("rev-parse", "--abbrev-ref", "HEAD", cwd=main)
    if branch == "HEAD":
        raise GitError(
            "the default branch is unknown",
            why="there is no `main` or `master`, and the main worktree's HEAD is detached",
            hint=f"git -C {shlex.quote(str(main))} switch BRANCH",
        )
    return branch


def find_remotes_with(repository: Repository, branch: str, remotes: Remotes) -> list[str]:
    """Return those of *remotes* that have *branch*, as of the last fetch."""
    references = {f"{REMOTES}{name}/{branch}": name for name in remotes.names}
    if not references:
        return []
    found = read_git("for-each-ref", "--format=%(refname)", *references, cwd=repository.main).splitlines()
    return [references[reference] for reference in found if reference in references]


def find_remote_branch(repository: Repository, branch: str) -> str | None:
    """
    Return the remote branch that the local *branch* is compared with, such as `origin/main`, None if there is none.

    That is its upstream branch, else the main remote's branch of that name.
    """
    upstream = read_git("for-each-ref", "--format=%(upstream)", f"refs/heads/{branch}", cwd=repository.main)
    references = [line for line in upstream.splitlines()[:1] if line.startswith(REMOTES)]
    if remote := find_main_remote(repository):
        references.append(f"{REMOTES}{remote}/{branch}")
    found = next((reference for reference in references if repository.commit(reference)), None)
    return found and found.removeprefix(REMOTES)


def read_tracking(repository: Repository, branch: str) -> Tracking | None:
    """Return what *branch* tracks, None if it tracks nothing."""
    remote, ref = (
        run_git("config", "--get", f"branch.{branch}.{key}", cwd=repository.main, check=False).stdout.removesuffix("\n")
        for key in ("remote", "merge")
    )
    return Tracking(remote, ref) if remote and ref else None


def write_tracking(repository: Repository, branch: str, tracking: Tracking) -> None:
    """
    Make *branch* track a branch, as `git branch --set-upstream-to` does.

    Raises:
        GitError: If the configuration cannot be written.
    """
    values = {"remote": tracking.remote, "merge": tracking.ref}
    rebase = run_git("config", "--get", "branch.autoSetupRebase", cwd=repository.main, check=False).stdout.strip()
    if rebase in ("remote", "always"):
        values["rebase"] = "true"
    for key, value in values.items():
        run_git("config", f"branch.{branch}.{key}", value, cwd=repository.main)


def delete_tracking(repository: Repository, branch: str) -> None:
    """Delete what `write_tracking` wrote."""
    for key in ("remote", "merge", "rebase"):
        run_git("config", "--unset-all", f"branch.{branch}.{key}", cwd=repository.main, check=False)


def fetch_remotes(repository: Repository, report: Callable[[str], None]) -> None:
    """
    Fetch all remotes.

    Args:
        report: As for `transfer`.

    Raises:
        GitError: If there is none, or one of them cannot be fetched.
    """
    if not read_remotes(repository).names:
        raise GitError("the repository has no remote to fetch from", hint="leave --fetch out")
    options = ("--all", "--progress", "--no-recurse-submodules")
    hint = "to work with what was fetched last, leave --fetch out"
    transfer("fetch", *options, cwd=repository.main, report=report, hint=hint)


def format_last_fetch(repository: Repository) -> str:
    """Return how old the knowledge of the remotes is: `as of the last fetch, 3 h ago`."""
    common = repository.common
    times = [file.stat().st_mtime for file in [*common.glob("FETCH_HEAD"), *common.glob("worktrees/*/FETCH_HEAD")]]
    return f"as of the last fetch, {format_age(time.time() - max(times))} ago" if times else "nothing was fetched yet"
