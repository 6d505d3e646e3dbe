"""
Decide which branch a new worktree gets, and at which commit a new branch starts.

Names mean what they mean to git, with two exceptions: a branch wins over a tag of the same name, and the branch that
new ones start from by default is taken from wherever it is newest, here or on its remote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import BranchError
from tasks_lib.git.cli import read_git
from tasks_lib.git.remotes import (
    REMOTES,
    Remotes,
    Tracking,
    find_default_branch,
    find_remote_branch,
    find_remotes_with,
    format_last_fetch,
    read_remotes,
    read_tracking,
)

if TYPE_CHECKING:
    from tasks_lib.git.repository import Repository

_HEADS = "refs/heads/"


@dataclass(frozen=True)
class BranchName:
    """
    A branch as a user has named it.

    Attributes:
        local: Its name in this repository.
        remote: The remote that the user named, as in `origin/feature`.
    """

    local: str
    remote: str | None = None


@dataclass(frozen=True)
class Start:
    """
    What a worktree checks out.

    Attributes:
        commit: Where the new branch starts, None for an existing branch.
        tracking: What the new branch tracks.
        source: What *commit* was found by, such as `origin/main`, for people.
        remark: What the user should know about it; may be empty.
    """

    commit: str | None
    tracking: Tracking | None = None
    source: str = ""
    remark: str = ""

    def describe(self, branch: str) -> str:
        """Return the start of *branch* as a sentence, empty if there is nothing to say."""
        if self.commit is None:
            return self.remark and f"{branch} is {self.remark}"
        where = f"{branch} starts at {self.source}" + ("" if self.source == self.commit else f" ({self.commit[:12]})")
        return "; ".join(filter(None, (where, self.remark)))


def read_branch_name(repository: Repository, name: str) -> BranchName:
    """
    Return the branch that a user means by *name*: `feature`, `refs/heads/feature` or `origin/feature`.

    Raises:
        BranchError: If it is another kind of ref, or a branch that the named remote does not have.
    """
    if name.startswith(_HEADS):
        return BranchName(name.removeprefix(_HEADS))
    on_remote = name.startswith((REMOTES, "remotes/"))
    if name.startswith("refs/") and not on_remote:
        raise BranchError(
            f"`{name}` is not a branch",
            why="a worktree is created for a branch",
            hint=f"to start a new branch there:\ninv worktree.create BRANCH --base {name}",
        )
    if "/" not in name or (not on_remote and repository.has_branch(name)):
        return BranchName(name)
    short = name.removeprefix("refs/").removeprefix("remotes/") if on_remote else name
    # A remote's name may contain slashes.
    names = sorted(read_remotes(repository).names, key=len, reverse=True)
    remote = next((remote for remote in names if short.startswith(f"{remote}/")), None)
    if remote is None and not on_remote:
        return BranchName(name)
    branch = short.removeprefix(f"{remote}/")
    if remote is None or repository.commit(f"{REMOTES}{remote}/{branch}") is None:
        raise BranchError(
            f"remote branch `{short}` does not exist, {format_last_fetch(repository)}",
            why="a local branch of this name would be taken for one of the remote",
            hint=f"pass --fetch, or create a new branch:\ninv worktree.create {branch}",
        )
    return BranchName(branch, remote)


def find_start(repository: Repository, name: BranchName, *, base: str, default: str | None) -> Start:
    """
    Return what a worktree of the branch *name* checks out.

    Args:
        base: Where a new branch starts, as the user says; empty for the remote's branch of that name, else *default*.
        default: The branch, tag or commit that new branches start from; None for the default branch.

    Raises:
        BranchError: If *base* is given for an existing branch, if it is ambiguous what is meant, or if no commit was
            found.
    """
    branch = name.local
    if repository.has_branch(branch):
        if base:
            raise BranchError(
                f"branch `{branch}` exists already", why="--base is for new branches", hint="leave --base out"
            )
        if name.remote:
            _require_same_branch(repository, name.local, name.remote)
        return Start(None, remark=_compare_with_remote(repository, branch))
    remotes = read_remotes(repository)
    holders = [name.remote] if name.remote else find_remotes_with(repository, branch, remotes)
    if holders and not base:
        remote = _require_one(branch, holders, remotes)
        commit = repository.commit(f"{REMOTES}{remote}/{branch}")
        tracking = Tracking(remote, f"{_HEADS}{branch}")
        return Start(commit, tracking, f"{remote}/{branch}", format_last_fetch(repository))
    if name.remote:
        raise BranchError(
            f"`{name.remote}/{branch}` says itself where it starts",
            why="--base is for new branches",
            hint="leave --base out",
        )
    if repository.commit(f"refs/tags/{branch}"):
        raise BranchError(
            f"`{branch}` is a tag, not a branch",
            why="with a branch of the same name, git commands would take one for the other",
            hint=f"to start a new branch there:\ninv worktree.create {branch}-work --base {branch}",
        )
    if not base:
        return _find_newest(repository, branch, default or find_default_branch(repository))
    found = _find_base(repository, base, remotes)
    if holders:
        remark = f"a new branch: {' and '.join(holders)} also has a `{branch}`, from which it does not start"
        return Start(found.commit, source=found.source, remark="; ".join(filter(None, (remark, found.remark))))
    return found


def find_base_branch(repository: Repository, default: str | None) -> str:
    """
    Return the short name of the branch that new ones start from and are merged into.

    Args:
        default: As for `find_start`. A tag or a commit is not a branch; then it is the default branch.

    Raises:
        GitError: If the default branch is unknown, or *default* names nothing.
    """
    if default:
        remotes = read_remotes(repository)
        remote = next((name for name in remotes.names if default.startswith(f"{name}/")), None)
        if repository.has_branch(default) or find_remotes_with(repository, default, remotes):
            return default
        if remote and repository.commit(f"{REMOTES}{default}"):
            return default.removeprefix(f"{remote}/")
        if repository.commit(default) is None:
            raise BranchError(
                f"`{default}` is not a branch, a tag or a commit",
                why="the setting `worktree.base` (WORKTREE_BASE) says that new branches start there",
                hint="git branch --all",
            )
    return find_default_branch(repository)


def _find_newest(repository: Repository, branch: str, default: str) -> Start:
    """Return the start of the new *branch* at *default*, from here or from its remote, whichever contains the other."""
    local, remote = repository.commit(_HEADS + default), find_remote_branch(repository, default)
    if local is None or remote is None:
        return _find_base(repository, default, read_remotes(repository))
    ours, theirs = _compare(repository, local, REMOTES + remote)
    seen = format_last_fetch(repository)
    if ours and theirs:
        raise BranchError(
            f"`{default}` and `{remote}` have diverged",
            why=f"{_commits(ours)} only in `{default}`, {_commits(theirs)} only in `{remote}`, {seen}",
            hint=f"choose one:\ninv worktree.create {branch} --base {default}\n"
            f"inv worktree.create {branch} --base {remote}",
        )
    if theirs:
        fetched = repository.commit(REMOTES + remote)
        return Start(fetched, source=remote, remark=f"{_commits(theirs)} ahead of {default}, {seen}")
    ahead = f"{_commits(ours)} ahead of {remote}" if ours else f"{remote} is at the same commit"
    return Start(local, source=default, remark=f"{ahead}, {seen}")


def _find_base(repository: Repository, base: str, remotes: Remotes) -> Start:
    """Return the start at the branch, tag, remote branch or commit *base*."""
    if local := repository.commit(_HEADS + base):
        remark = _compare_with_remote(repository, base)
        if repository.commit(f"refs/tags/{base}"):
            remark = "; ".join(filter(None, (f"the branch, not the tag (--base tags/{base})", remark)))
        return Start(local, source=base, remark=remark)
    # HEAD is that of the current worktree.
    if commit := repository.commit(base, cwd=repository.current):
        return Start(commit, source=base)
    holders = find_remotes_with(repository, base, remotes)
    if not holders:
        raise BranchError(f"base `{base}` is not a commit", hint="git branch --all")
    remote = _require_one(base, holders, remotes)
    commit = repository.commit(f"{REMOTES}{remote}/{base}")
    return Start(commit, source=f"{remote}/{base}", remark=format_last_fetch(repository))


def _require_one(branch: str, holders: list[str], remotes: Remotes) -> str:
    """
    Return the remote whose *branch* is meant.

    Raises:
        BranchError: If several have it, and `checkout.defaultRemote` names none of them.
    """
    if remotes.preferred in holders:
        return str(remotes.preferred)
    if len(holders) > 1:
        names = [f"{remote}/{branch}" for remote in holders]
        raise BranchError(
            f"branch `{branch}` exists on several remotes",
            why=", ".join(names),
            hint="name one of these branches, or let git prefer a remote:\n"
            f"git config checkout.defaultRemote {holders[0]}",
        )
    return holders[0]


def _require_same_branch(repository: Repository, branch: str, remote: str) -> None:
    """
    Refuse the local *branch* where the user has named the one of *remote*, and they have nothing to do with each other.

    Raises:
        BranchError: If the local one does not track the other, and is at another commit.
    """
    tracked = read_tracking(repository, branch) == Tracking(remote, _HEADS + branch)
    if not tracked and repository.commit(_HEADS + branch) != repository.commit(f"{REMOTES}{remote}/{branch}"):
        raise BranchError(
            f"branch `{branch}` exists, and is not `{remote}/{branch}`",
            why="it is at another commit, and does not track that branch",
            hint="choose the local branch, or a new name:\n"
            f"inv worktree.create {branch}\ninv worktree.create {branch}-{remote} --base {remote}/{branch}",
        )


def _compare_with_remote(repository: Repository, branch: str) -> str:
    """Return how many commits the local *branch* is behind its remote branch, empty if it is not behind."""
    remote = find_remote_branch(repository, branch)
    if remote is None:
        return ""
    _, behind = _compare(repository, _HEADS + branch, REMOTES + remote)
    return f"{_commits(behind)} behind {remote}, {format_last_fetch(repository)}" if behind else ""


def _compare(repository: Repository, ours: str, theirs: str) -> tuple[int, int]:
    """Return how many commits only *ours* has, and how many only *theirs*."""
    found = read_git("rev-list", "--left-right", "--count", f"{ours}...{theirs}", "--", cwd=repository.main)
    left, right = map(int, found.split())
    return left, right


def _commits(count: int) -> str:
    return "1 commit" if count == 1 else f"{count} commits"
