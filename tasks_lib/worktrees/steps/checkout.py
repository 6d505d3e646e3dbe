"""
Create the branch and the worktree, and mark the worktree with its slug.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.repository import WorktreeEntry, list_worktrees
from tasks_lib.plan import Step
from tasks_lib.worktrees.steps.hooks import clear_ran_hooks

if TYPE_CHECKING:
    from tasks_lib.worktrees.project import Project

UNFINISHED = "initializing"
"""git's lock reason while it creates a worktree (builtin/worktree.c, add_worktree)."""


@dataclass(frozen=True)
class Checkout:
    """
    Creates a worktree.

    Attributes:
        branch: None for a detached HEAD.
        base: The commit at which to create the branch, or to detach HEAD; None when the branch exists.
        begun: Paths at which this run, not an earlier killed one, began to create the worktree.
    """

    project: Project
    slug: str
    branch: str | None
    path: Path
    base: str | None
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
            # --no-track: setting up tracking writes .git/config, for whose lock parallel runs compete.
            run_git("branch", "--no-track", self.branch, self.base, cwd=main)
        if listed is None:
            self.begun.append(self.path)
            start = [self.branch] if self.branch else ["--detach", str(self.base)]
            run_git("worktree", "add", self.path, *start, cwd=main)
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

    def done(self) -> bool:
        """Whether the worktree exists and is complete."""
        return self.project.registry.paths().get(self.slug) == self.path and self.path.exists()

    def _listed(self) -> WorktreeEntry | None:
        rows = list_worktrees(self.project.repository.main)
        return next((row for row in rows if row.path == self.path), None)

    def _remove(self) -> None:
        # Twice, because git itself still locks a worktree whose creation was interrupted.
        run_git("worktree", "remove", "--force", "--force", self.path, cwd=self.project.repository.main)
