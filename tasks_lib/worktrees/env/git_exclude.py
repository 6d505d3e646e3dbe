"""
Keep worktrees, and the files of one worktree, out of commits: the files contain passwords, or paths of one machine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks_lib.errors import WorktreeError
from tasks_lib.git.cli import git_succeeds, read_git, run_git

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.worktrees.project import Project


def exclude_from_git(project: Project, path: Path, name: str) -> bool:
    """
    Make git ignore the file *name* of the worktree at *path*, tracked or not.

    Returns whether git tracks it and did not ignore it before; `stop_excluding` reverts that.
    """
    if git_succeeds("check-ignore", "--quiet", "--", name, cwd=path):
        return False  # ignored, and not tracked: git says no to what it tracks
    if not is_tracked(path, name):
        _exclude(project, name)
        return False
    if read_git("ls-files", "-t", "--", name, cwd=path).startswith("S"):
        return False
    # The index is the worktree's own.
    run_git("update-index", "--skip-worktree", "--", name, cwd=path)
    return True


def exclude_worktree(project: Project, path: Path) -> None:
    """Make git ignore the new worktree at *path* if that is inside the main worktree: `git add -A` would add it."""
    main, root = project.repository.main, project.settings.root
    if not path.is_relative_to(main):
        return
    # One line for all worktrees, unless that would hide other files.
    shared = root is not None and main in root.parents and root in path.parents and not is_tracked(main, str(root))
    folder = f"{(root if root and shared else path).relative_to(main)}/"
    if not git_succeeds("check-ignore", "--quiet", "--", folder, cwd=main):
        _exclude(project, folder)


def stop_excluding(path: Path, name: str) -> None:
    """Make git see *name* again if it is tracked. A line in `info/exclude` stays, for other worktrees."""
    if is_tracked(path, name):
        run_git("update-index", "--no-skip-worktree", "--", name, cwd=path)


def is_tracked(path: Path, name: str) -> bool:
    """Whether git tracks the file *name* of the worktree at *path*."""
    return read_git("ls-files", "--", name, cwd=path) != ""


def _exclude(project: Project, name: str) -> None:
    """Add the path *name* to `info/exclude`, which all worktrees share."""
    pattern = "/" + re.sub(r"([\\*?\[ ])", r"\\\1", name)
    file = project.repository.common / "info" / "exclude"
    try:
        with project.registry.locked():
            text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
            if pattern in text.splitlines():
                return  # another process has just added it
            file.parent.mkdir(exist_ok=True)
            with file.open("a", encoding="utf-8", errors="surrogateescape") as lines:
                lines.write(f"\n# goldentree\n{pattern}\n")
    except OSError as error:
        raise WorktreeError(
            f"`{file}` cannot be written: {error.strerror}",
            why=f"{pattern} must not get into a commit",
            hint="add it to .gitignore, or fix the file",
        ) from None
