"""
Read the git state of worktrees: uncommitted changes, and commits ahead of and behind the base branch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.merge_detection import find_merge_proof, is_ancestor
from tasks_lib.git.remotes import REMOTES, find_remote_branch
from tasks_lib.git.start import find_base_branch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tasks_lib.git.repository import Repository, WorktreeEntry

_THREADS = 8
"""Enough for a few cores: git does the work in separate processes."""

STATUS_SECONDS = 10.0
"""How long `git status` may take in one worktree. 28,000 files that are not cached take about 4 s."""


@dataclass(frozen=True)
class Upstream:
    """The branch that is tracked; without numbers if the remote no longer has it."""

    branch: str
    ahead: int | None
    behind: int | None


@dataclass(frozen=True)
class GitState:
    """
    The state of one worktree; None for what is unknown.

    Attributes:
        head: The commit that is checked out.
        dirty: How many paths have uncommitted changes, untracked ones included.
        ahead: How many commits it has that the base branch lacks.
        behind: How many the base branch has that it lacks.
        merged: How its commits came into the base branch; None also if it has none.
        why: Why something is unknown.
    """

    head: str | None
    dirty: int | None = None
    ahead: int | None = None
    behind: int | None = None
    merged: str | None = None
    upstream: Upstream | None = None
    why: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """The state for people, such as `dirty, ahead 2`."""
        if self.dirty is None:
            return "?"
        said = ["dirty" if self.dirty else "clean"]
        if self.merged:
            said.append("merged")
        else:
            said += [f"{name} {count}" for name, count in (("ahead", self.ahead), ("behind", self.behind)) if count]
        return ", ".join(said)


def read_states(
    repository: Repository,
    worktrees: Sequence[WorktreeEntry],
    base: str | None = None,
    report: Callable[[WorktreeEntry, GitState], object] = lambda _, __: None,
) -> list[GitState]:
    """
    Return the state of each of *worktrees*. An error in one of them does not affect the others.

    Args:
        base: What new branches start from, as for `find_start`; the branch that all are compared with.
        report: Called with each state as soon as it is known, from several threads.
    """
    heads = {listed.head for listed in worktrees if listed.head and listed.head.strip("0")}
    try:
        target = _target(repository, base)
        divergences = _count_ahead_behind(repository, target, heads) if target and heads else {}
        failure = ""
    except GitError as error:
        failure = _reason(error)

    def read(listed: WorktreeEntry) -> GitState:
        unknown = GitState(listed.head, why=failure)
        state = unknown if failure else _read_state(repository, listed, target, divergences)
        report(listed, state)
        return state

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, worktrees))


def _read_state(
    repository: Repository, listed: WorktreeEntry, target: str | None, divergences: Mapping[str, _Divergence]
) -> GitState:
    try:
        headers, dirty = _status(listed)
        found = GitState(listed.head, dirty, upstream=_upstream(headers))
        if listed.head is None or target is None or listed.head not in divergences:
            return found
        divergence = divergences[listed.head]
        merged = _merged(repository, listed.head, target, divergence)
        return replace(found, ahead=divergence.ahead, behind=divergence.behind, merged=merged)
    except GitError as error:
        return GitState(listed.head, why=_reason(error))
    except OSError as error:  # such as no room for temporary files
        return GitState(listed.head, why=str(error))


def _target(repository: Repository, base: str | None) -> str | None:
    """Return the commit of the base branch, local or as last fetched, None if it has none."""
    try:
        branch = find_base_branch(repository, base)
    except GitError:
        return None
    remote = find_remote_branch(repository, branch)
    local, fetched = repository.commit(f"refs/heads/{branch}"), remote and repository.commit(REMOTES + remote)
    if local is None or (fetched not in (None, local) and is_ancestor(repository, local, str(fetched))):
        return fetched
    return local


@dataclass(frozen=True)
class _Divergence:
    """How a commit has diverged from the target; *on_trunk* if the target itself was once at this commit."""

    ahead: int
    behind: int
    on_trunk: bool


def _count_ahead_behind(repository: Repository, target: str, heads: set[str]) -> dict[str, _Divergence]:
    """Count how many commits each of *heads* is ahead of and behind *target*, in one walk for all of them."""
    tips = [target, *heads - {target}]
    found = run_git("merge-base", "--octopus", *tips, cwd=repository.main, check=False)
    shared = [f"^{found.stdout.strip()}"] if found.returncode == 0 else []
    lines = read_git("rev-list", "--topo-order", "--parents", *tips, *shared, cwd=repository.main).splitlines()
    # A bit for each tip that a commit can be reached from; children come before their parents.
    reached = defaultdict(int, {tip: 1 << number for number, tip in enumerate(tips)})
    first: dict[str, str] = {}
    counts: Counter[int] = Counter()
    for line in lines:
        commit, *parents = line.split()
        counts[reached[commit]] += 1
        for parent in parents:
            reached[parent] |= reached[commit]
        first[commit] = parents[0] if parents else ""
    trunk = {target}
    commit = target
    while commit in first:
        commit = first[commit]
        trunk.add(commit)
    divergences = {}
    for number, tip in enumerate(tips):
        bit = 1 << number
        ahead = sum(count for bits, count in counts.items() if bits & bit and not bits & 1)
        behind = sum(count for bits, count in counts.items() if bits & 1 and not bits & bit)
        divergences[tip] = _Divergence(ahead, behind, on_trunk=tip in trunk)
    return divergences


def _status(listed: WorktreeEntry) -> tuple[dict[str, str], int]:
    """Return the headers of `git status`, and the number of changed paths."""
    if not (listed.path / ".git").exists():
        # git would look for a repository above.
        raise GitError(f"no worktree was found at {listed.path}")
    # Do not lock the index: a commit at the same time would fail.
    options = ("--porcelain=v2", "--branch", "--untracked-files=normal", "-z")
    lines = iter(
        read_git("--no-optional-locks", "status", *options, cwd=listed.path, seconds=STATUS_SECONDS).split("\0")
    )
    headers, dirty = {}, 0
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "#":
            name, _, headers[name] = rest.partition(" ")
        elif kind:
            dirty += 1
            if kind == "2":
                next(lines)  # the name that a renamed path had
    return headers, dirty


def _merged(repository: Repository, head: str, target: str, divergence: _Divergence) -> str | None:
    """Return how a branch's commits came into *target*. A branch without commits is new, not merged."""
    if divergence.on_trunk or not divergence.behind:
        return None
    if not divergence.ahead:
        return "ancestor"
    ours, theirs = _changed(repository, target, head), _changed(repository, head, target)
    # Cheap pre-check: if the branch changes a path that the target never touched, it cannot be merged.
    if ours and theirs and not ours <= theirs:
        return None
    return find_merge_proof(repository, head, target)


def _changed(repository: Repository, other: str, commit: str) -> set[str]:
    """Return the paths that *commit* has changed since it diverged from *other*, none if that is ambiguous."""
    options = ("-r", "-z", "--name-only", "--no-renames", "--merge-base")
    # git fails if they have no merge base, or several.
    found = run_git("diff-tree", *options, other, commit, cwd=repository.main, check=False)
    return set(found.stdout.split("\0")[:-1])


def _upstream(headers: dict[str, str]) -> Upstream | None:
    if "branch.upstream" not in headers:
        return None
    if "branch.ab" not in headers:
        return Upstream(headers["branch.upstream"], None, None)
    ahead, behind = headers["branch.ab"].split()
    return Upstream(headers["branch.upstream"], int(ahead), -int(behind))


def _reason(error: GitError) -> str:
    return error.why.partition("\n")[0] or error.what
