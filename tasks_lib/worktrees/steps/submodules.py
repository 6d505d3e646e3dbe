"""
Give a worktree the submodules that the main worktree has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.submodules import (
    clone_submodule,
    is_initialised,
    list_saved_submodules,
    list_submodules,
    move_submodule,
)
from tasks_lib.plan import Step

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project


def submodule_steps(
    project: Project, path: Path, narrator: Narrator, command: str, saved: str | None = None
) -> list[Step]:
    """
    Return the step that clones the submodules that the worktree at *path* lacks, none if it is to have none.

    Args:
        command: The task that runs the step, with its arguments, for hints.
        saved: A commit that says where the submodules were, if not where the index says.
    """
    main, wanted = project.repository.main, project.settings.submodules
    if wanted == "false" or (wanted == "auto" and not any(map(is_initialised, list_submodules(main)))):
        return []
    hint = f"fix it, or go on without submodules:\nWORKTREE_SUBMODULES=false inv {command}"
    return [_CloneSubmodules(project, path, narrator, hint, saved).step()]


@dataclass(frozen=True)
class _CloneSubmodules:
    """The step that clones submodules. It has no undo: a removal of the worktree deletes them as well."""

    project: Project
    path: Path
    narrator: Narrator
    hint: str
    saved: str | None

    def step(self) -> Step:
        return Step("clone its submodules", self.do, done=self.done)

    def do(self) -> str:
        main, report = self.project.repository.main, self.narrator.update
        missing = self._missing()
        for module in missing:
            name = module.relative_to(self.path)
            # Writes .git/config, which all worktrees share, and for whose lock git does not wait.
            with self.project.registry.locked():
                run_git("submodule", "init", "--", name, cwd=self.path)
            like = main / name if is_initialised(main / name) else None
            clone_submodule(self.path, module, like, report, hint=self.hint)
        for module, commit in self._moved().items():
            move_submodule(module, commit, report, hint=self.hint)
        return ", ".join(str(module.relative_to(self.path)) for module in missing)

    def done(self) -> bool:
        return self.path.exists() and not self._missing() and not self._moved()

    def _missing(self) -> list[Path]:
        """Return the submodules to clone. One that the main worktree lacks as a whole is new on the branch."""
        main = self.project.repository.main
        left_out = set()
        if self.project.settings.submodules == "auto":
            known = list_submodules(main)
            left_out = {module.relative_to(main) for module in known if not is_initialised(module)}
        return [
            module
            for module in list_submodules(self.path)
            if not is_initialised(module) and module.relative_to(self.path) not in left_out
        ]

    def _moved(self) -> dict[Path, str]:
        if self.saved is None:
            return {}
        modules = [module for module in list_submodules(self.path) if is_initialised(module)]
        saved = list_saved_submodules(self.path, self.saved, modules)
        return {
            module: commit for module, commit in saved.items() if read_git("rev-parse", "HEAD", cwd=module) != commit
        }
