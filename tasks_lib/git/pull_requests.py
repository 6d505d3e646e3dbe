"""
Find pull requests (GitHub, Gitea) and merge requests (GitLab) on the remotes, and fetch their commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError, GitError
from tasks_lib.git.cli import transfer
from tasks_lib.git.remotes import Tracking, read_remotes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.git.repository import Repository

_REFS = {"pull request": "refs/pull/{}/head", "merge request": "refs/merge-requests/{}/head"}


@dataclass(frozen=True)
class PullRequest:
    """
    A pull or merge request on a remote.

    Attributes:
        title: Such as `pull request 123 of origin`, for people.
        tracking: Where `git pull` gets its later commits from.
        commit: The one that it was at when the remote was asked.
    """

    title: str
    tracking: Tracking
    commit: str


def require_number(text: str) -> None:
    """
    Refuse a *text* that is not the number of a pull request.

    Raises:
        BranchError: If so.
    """
    if not (text.isascii() and text.isdecimal()):
        raise BranchError(f"`{text}` is not the number of a pull request", hint="inv worktree.create --pr 123")


def is_pull_request(tracking: Tracking | None) -> bool:
    """Whether *tracking* is that of a pull or merge request. The server keeps its commits, also after it is closed."""
    return tracking is not None and any(tracking.ref.startswith(ref.partition("{")[0]) for ref in _REFS.values())


def find_pull_request(repository: Repository, number: str, branch: str) -> PullRequest:
    """
    Ask every remote for the pull request *number*. Fetches nothing.

    Args:
        branch: The local branch that it is for, for hints.

    Raises:
        BranchError: If no remote has it, or several have it.
        GitError: If a remote does not answer: it may have it as well.
    """
    remotes = read_remotes(repository).names
    found = [request for remote in remotes for request in _ask(repository, remote, number)]
    if not found:
        raise BranchError(
            f"pull request {number} was not found",
            why=f"neither {' nor '.join(ref.format(number) for ref in _REFS.values())} exists on a remote; "
            f"asked: {', '.join(remotes) or 'none, because the repository has no remote'}",
            hint="git remote --verbose",
        )
    if len(found) > 1:
        first = found[0].tracking
        raise BranchError(
            f"several remotes have a pull request {number}",
            why=", ".join(request.title for request in found),
            hint="fetch the one that is meant, and start the branch there, for example:\n"
            f"git fetch {first.remote} {first.ref} && inv worktree.create {branch} --base FETCH_HEAD",
        )
    return found[0]


def fetch_pull_request(repository: Repository, request: PullRequest, report: Callable[[str], None]) -> str:
    """
    Fetch *request* and return its commit. No ref changes.

    Args:
        report: As for `transfer`.

    Raises:
        GitError: If it cannot be fetched.
    """
    remote, ref = request.tracking.remote, request.tracking.ref
    options = ("--progress", "--no-write-fetch-head", "--no-tags", "--no-recurse-submodules")
    transfer("fetch", *options, remote, ref, cwd=repository.main, report=report)
    if repository.commit(request.commit) is None:
        raise GitError(f"{request.title} changed while it was fetched", hint="run the same command again")
    return request.commit


def _ask(repository: Repository, remote: str, number: str) -> list[PullRequest]:
    refs = {ref.format(number): kind for kind, ref in _REFS.items()}
    lines = transfer("ls-remote", remote, *refs, cwd=repository.main).splitlines()
    rows = (line.split("\t") for line in lines)
    return [
        PullRequest(f"{refs[ref]} {number} of {remote}", Tracking(remote, ref), commit)
        for commit, ref in rows
        if ref in refs
    ]
