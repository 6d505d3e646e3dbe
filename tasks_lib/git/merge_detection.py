"""
Find out whether a branch's work is in another branch, also after a squash or a rebase.

git itself only compares ancestors. The other proofs compare content: the target's files have the branch's
changes now, or a commit of the target changes the same lines. Each proof may miss a merge, but none
may claim one that did not happen, because branches are deleted on that answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError
from tasks_lib.git.cli import git_succeeds, objects_elsewhere, read_git, run_git

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tasks_lib.git.repository import Repository

MOST_COMMITS = 300
"""How many commits are compared on either side, newest first."""

MOST_PATHS = 1000
"""How many files a branch may change before its patches are not compared: their names go on git's command line."""

# Plumbing does not read `diff.*`, except for the drivers that attributes name.
_DIFF = ("diff-tree", "-r", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
_PATCH = (*_DIFF, "--patch", "--unified=3", "--full-index", "--no-color")


def is_ancestor(repository: Repository, tip: str, target: str) -> bool:
    """
    Whether all commits of *tip* are in *target*; the cheap first level of `find_merge_proof`.

    Raises:
        GitError: If one of them is not a commit.
    """
    return git_succeeds("merge-base", "--is-ancestor", tip, target, cwd=repository.main)


def find_merge_proof(repository: Repository, tip: str, target: str) -> str | None:
    """
    Return how the work of the commit *tip* came into *target*, None if that cannot be proven. Cheapest proof first.

    Returns:
        `ancestor`: the target has the commits themselves. `same tree`: the files are the same. `nothing to add`: a
        merge would change nothing (git >= 2.38). `patch`: one commit of the target changes what the branch
        changes, or there is one for each of the branch's commits.

    A branch whose commits cancel out counts as merged only as an ancestor: its files would prove anything.

    Raises:
        GitError: If git cannot answer.
    """
    main = repository.main
    if is_ancestor(repository, tip, target):
        return "ancestor"
    base = _base(main, tip, target)
    paths = read_git(*_DIFF, "--name-only", "-z", base, tip, cwd=main).split("\0")[:-1] if base else []
    if base is None or not paths:
        return None
    tree = read_git("rev-parse", f"{target}^{{tree}}", cwd=main)
    if read_git("rev-parse", f"{tip}^{{tree}}", cwd=main) == tree:
        return "same tree"
    if _merged_tree(repository, tip, target) == tree:
        return "nothing to add"
    if len(paths) <= MOST_PATHS and _is_patched_in(main, base, tip, target, paths):
        return "patch"
    return None


def _base(main: Path, tip: str, target: str) -> str | None:
    """Return the commit where the two diverged, None if they have no common history."""
    found = run_git("merge-base", tip, target, cwd=main, check=False)
    if found.returncode not in (0, 1):
        raise GitError(f"git merge-base failed with status {found.returncode}", why=found.stderr.strip())
    return found.stdout.strip() or None


def _merged_tree(repository: Repository, tip: str, target: str) -> str | None:
    """Return the tree that merging *tip* into *target* would give, None if it would conflict or git is too old."""
    main = repository.main
    drivers = run_git("config", "--name-only", "--get-regexp", r"^merge\..*\.driver$", cwd=main, check=False)
    # A driver that keeps "ours" would merge anything into nothing. One that fails is a conflict.
    keys = [*drivers.stdout.splitlines(), "merge.union.driver"]
    settings = [f"{key}=false" for key in keys] + ["merge.renames=true", "merge.directoryRenames=false"]
    options = [word for setting in settings for word in ("-c", setting)]
    command = [*options, "merge-tree", "--write-tree", "--no-messages", target, tip]
    with objects_elsewhere(repository.common) as scratch:
        merged = run_git(*command, cwd=main, check=False, scratch=scratch)
    return merged.stdout.strip() if merged.returncode == 0 else None


def _is_patched_in(main: Path, base: str, tip: str, target: str, paths: list[str]) -> bool:
    """
    Whether the target has a commit that makes the branch's changes to *paths*, or one for each of its commits.

    Not by `git patch-id` or `git cherry`: they leave out white space, which is code in Python, and
    before git 2.39 what is in binary files.
    """
    # Only commits that touch the branch's files: a long history costs little.
    limits = ("--no-merges", f"--max-count={MOST_COMMITS}")
    commits = read_git("--literal-pathspecs", "rev-list", *limits, f"{base}..{target}", "--", *paths, cwd=main)
    theirs = set(_patches(main, commits, paths))
    squashed = read_git("--literal-pathspecs", *_PATCH, base, tip, "--", *paths, cwd=main)
    if _without_places(squashed + "\n") in theirs:
        return True
    ours = read_git("rev-list", "--parents", f"--max-count={MOST_COMMITS + 1}", f"{base}..{tip}", cwd=main)
    lines = [line.split() for line in ours.splitlines()]
    if len(lines) > MOST_COMMITS or any(len(parents) > 1 for _, *parents in lines):
        return False  # what a merge commit changes by itself is in no patch
    return theirs.issuperset(_patches(main, "\n".join(commit for commit, *_ in lines), paths))


def _patches(main: Path, commits: str, paths: list[str]) -> Iterable[str]:
    """Return the patch of each of *commits* in *paths*, as text without line numbers."""
    arguments = ("--literal-pathspecs", *_PATCH, "--stdin", "--always", "--", *paths)
    text = run_git(*arguments, cwd=main, stdin=commits + "\n").stdout
    # In a patch every line of content is indented by its sign.
    return map(_without_places, re.split(r"^[0-9a-f]{40,64}\n", text, flags=re.MULTILINE)[1:])


def _without_places(patch: str) -> str:
    """Return *patch* without line numbers and, but for binary files, without the hashes of whole files."""
    patch = re.sub(r"^@@ .*", "@@", patch, flags=re.MULTILINE)
    return re.sub(r"^index .*\n(?!Binary files )", "", patch, flags=re.MULTILINE).strip("\n")
