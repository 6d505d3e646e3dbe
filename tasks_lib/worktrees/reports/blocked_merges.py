"""
Find merges that git would refuse because of an env file that it tracks.

goldentree marks such a file `skip-worktree`, so that no commit has the worktree's own values. A merge that changes the
file then fails ("Your local changes would be overwritten"), while `git status` is clean and `git stash` finds nothing.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tasks_lib.git.cli import run_git
from tasks_lib.git.remotes import find_main_remote
from tasks_lib.git.unseen import list_hidden_edits
from tasks_lib.worktrees.env.env_files import is_env_file
from tasks_lib.worktrees.reports.incomplete import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.worktrees.project import Project


def find_blocked_merges(project: Project, path: Path) -> list[Problem]:
    """
    Return a problem for each branch whose merge into the worktree at *path* an env file blocks, with what cures it.

    These are the branch's upstream, and the base of new branches, here and on its remote as of the last fetch.

    Raises:
        GitError: If git cannot tell which files it takes as unchanged.
    """
    hidden = [name for name, tag in list_hidden_edits(path).items() if tag == "S" and is_env_file(name)]
    if not hidden:
        return []
    upstream = run_git("rev-parse", "--abbrev-ref", "@{upstream}", cwd=path, check=False).stdout.strip()
    base, remote = project.base_branch, find_main_remote(project.repository)
    branches = dict.fromkeys(filter(None, (upstream, base, remote and f"{remote}/{base}")))
    changed = {branch: _changes(path, branch, hidden) for branch in branches}
    return [_describe(path, branch, names) for branch, names in changed.items() if names]


def _changes(path: Path, branch: str, names: list[str]) -> list[str]:
    """Return those of *names* that *branch* changed since HEAD left it; none if that cannot be told."""
    found = run_git("diff", "--name-only", "-z", f"HEAD...{branch}", "--", *names, cwd=path, check=False)
    return found.stdout.split("\0")[:-1]


def _describe(path: Path, branch: str, names: list[str]) -> Problem:
    files = " ".join(map(shlex.quote, names))
    copies = [
        f'cp -p {shlex.quote(name)} "$(git rev-parse --git-dir)"/{shlex.quote(name.replace("/", "-"))}.before-merge'
        for name in names
    ]
    commands = [
        f"cd {shlex.quote(str(path))}",
        *copies,
        f"git update-index --no-skip-worktree {files}",
        f"git checkout -- {files}",
        f"git merge --no-edit {branch}",
        "inv worktree.setup",
    ]
    return Problem(
        f"git refuses to merge or pull `{branch}`, which changes {files}: git tracks that, and overlooks it here",
        "take its version with this worktree's values; what you added yourself is in the copy that this makes:\n"
        + " && ".join(commands),
    )
