"""
Create the branch and the worktree, and mark the worktree with its slug.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.remotes import delete_tracking, write_tracking
from tasks_lib.git.repository import WorktreeEntry, list_worktrees
from tasks_lib.plan import Step
from tasks_lib.worktrees.env.git_exclude import exclude_worktree
from tasks_lib.worktrees.steps.hooks import clear_ran_hooks

if TYPE_CHECKING:
    from tasks_lib.git.remotes import Tracking
    from tasks_lib.worktrees.project import Project

UNFINISHED = "initializing"
"""git's lock reason while it creates a worktree (builtin/worktree.c, add_worktree)."""

_WITHOUT_HOOKS = "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.hooksPath GIT_CONFIG_VALUE_0=/dev/null"


@dataclass(frozen=True)
class Checkout:
    """
    Creates a worktree.

    Attributes:
        branch: None for a detached HEAD.
        base: The commit at which to create the branch, or to detach HEAD; None when the branch exists.
        tracking: What the new branch tracks.
        command: The task that runs this step, with its arguments, for hints.
        begun: Paths at which this run, not an earlier killed one, began to create the worktree.
    """

    project: Project
    slug: str
    branch: str | None
    path: Path
    base: str | None
    command: str
    tracking: Tracking | None = None
    begun: list[Path] = field(default_factory=list)

    def step(self) -> Step:
        """Return the step that does it."""
        return Step(f"check out {self.branch or self.base} at {self.path}", self.do, self.undo, self.done)

    def do(self) -> None:
        """Create the branch and the worktree unless they exist, and mark it."""
        main = self.project.repository.main
        listed = self._listed()
        if listed is not None and (listed.locked == UNFINISHED or not self.path.exists()):
            self._remove()
            listed = None
        if self.branch and self.base and not self.project.repository.has_branch(self.branch):
            run_git("branch", "--no-track", self.branch, self.base, cwd=main)
        if self.branch and self.base and self.tracking:
            # git does not wait for the lock of .git/config, for which parallel runs compete.
            with self.project.registry.locked():
                write_tracking(self.project.repository, self.branch, self.tracking)
        if listed is None:
            self.begun.append(self.path)
            start = [self.branch] if self.branch else ["--detach", str(self.base)]
            exclude_worktree(self.project, self.path)
            self._add(start)
            clear_ran_hooks(self.project, self.slug)
        # Last, because the mark means that everything above is done.
        git_directory = read_git("rev-parse", "--absolute-git-dir", cwd=self.path)
        self.project.registry.mark(Path(git_directory), self.slug)

    def undo(self) -> None:
        """Remove what `do` created, even partly, and only that: an earlier run's worktree may contain work."""
        if self.begun and self._listed() is not None:
            self._remove()
        reference, listed = f"refs/heads/{self.branch}", self._listed()
        # A branch that has moved has new commits, so it stays.
        if self.branch and self.base and listed is None and self.project.repository.commit(reference) == self.base:
            run_git("update-ref", "-d", reference, self.base, cwd=self.project.repository.main)
            if self.tracking:
                with self.project.registry.locked():
                    delete_tracking(self.project.repository, self.branch)

    def done(self) -> bool:
        """Whether the worktree exists and is complete."""
        return self.project.registry.paths().get(self.slug) == self.path and self.path.exists()

    def _add(self, start: list[str]) -> None:
        try:
            run_git("worktree", "add", self.path, *start, cwd=self.project.repository.main)
        except GitError as error:
            # git deletes the worktree if it fails itself, but not if the hook does, which it runs last.
            if not self.path.exists():
                raise
            hook = Path(read_git("rev-parse", "--git-path", "hooks/post-checkout", cwd=self.path))
            if not os.access(self.path / hook, os.X_OK):
                raise
            raise GitError(
                f"the hook {hook} failed after git had checked out {self.branch or self.base}",
                why=error.why,
                hint=f"fix the hook, or run the command without hooks:\n{_WITHOUT_HOOKS} inv {self.command}",
            ) from None

    def _listed(self) -> WorktreeEntry | None:
        rows = list_worktrees(self.project.repository.main)
        return next((row for row in rows if row.path == self.path), None)

    def _remove(self) -> None:
        # Twice, because git itself still locks a worktree whose creation was interrupted.
        run_git("worktree", "remove", "--force", "--force", self.path, cwd=self.project.repository.main)
