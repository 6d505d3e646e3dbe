"""
Files that git does not bring into a worktree: copied and linked from the main worktree, or written from templates.

What is there already stays. The lists come from the main worktree: a branch cannot ask for files of its choice.
"""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tasks_lib.errors import WorktreeError
from tasks_lib.git.cli import read_git
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import Step
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.git_exclude import exclude_from_git
from tasks_lib.worktrees.env.guard import refuse_overriding_env_file
from tasks_lib.worktrees.steps import copy_tree
from tasks_lib.worktrees.steps.env_file import fill_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

INCLUDE = ".worktreeinclude"
"""The main worktree's list, in the syntax of `.gitignore`, which several worktree tools share."""

_NEVER = (".git", ".conductor", ".worktrees")
"""Where other worktrees live."""

_DEPENDENCIES = {"node_modules", "target", "venv", ".venv"}
"""Given whole or not at all: some packages bring a `.env.example`, and a folder with nothing else would be no gift."""


def file_steps(project: Project, record: Record, path: Path, narrator: Narrator) -> list[Step]:
    """
    Return the steps that give the worktree at *path* its files; none where nothing is configured.

    Raises:
        GitError: If git cannot tell what is ignored.
        EnvFileError: If one of them would send the worktree's application to another database.
    """
    found = []
    copied, linked = _copied(project), _linked(project)
    refuse_overriding_env_file(project, record, path, given={*copied, *linked})
    if copied or linked:
        found.append(_Giving(project, path, narrator, copied, linked).step())
    if project.settings.write:
        found.append(_writing(project, record, path, narrator))
    return found


@dataclass
class _Giving:
    """Copying and linking; remembers what it made, and how to take that away."""

    project: Project
    path: Path
    narrator: Narrator
    copied: list[str]
    linked: list[str]
    undoing: list[Callable[[], object]] = field(default_factory=list)

    def step(self) -> Step:
        """Return the step."""
        return Step("give it files of the main worktree", self.do, partial(_undo, self.undoing), self.done)

    def do(self) -> str:
        """Copy and link what is missing; return what was given."""
        main, given = self.project.repository.main, []
        for name in [*self.copied, *self.linked]:
            source, target = main / name, self.path / name
            if os.path.lexists(target):
                continue
            try:
                _make_room(self.path, target, self.undoing)
                # Before: an interrupted copy leaves nothing, but one that arrived must go.
                self.undoing.append(partial(copy_tree.remove, target))
                if name in self.linked:
                    target.symlink_to(source)
                    exclude_from_git(self.project, self.path, name)
                    given.append(f"{name} (linked)")
                elif copy_tree.copy(source, target, self.narrator.detail):
                    given.append(name)
            except OSError as error:
                raise WorktreeError(f"`{name}` cannot be given to {self.path}", why=str(error)) from None
        return _listed(given)

    def done(self) -> bool:
        """Whether nothing is missing."""
        return all(os.path.lexists(self.path / name) for name in [*self.copied, *self.linked])


def _copied(project: Project) -> list[str]:
    """Return what is to be copied, relative to the main worktree."""
    main = project.repository.main
    names = [PurePosixPath(name).as_posix() for name in project.settings.copy if os.path.lexists(main / name)]
    names += [name for name in _included(main) if name not in names]
    return _without_env_files(project, names)


def _linked(project: Project) -> list[str]:
    main = project.repository.main
    return _without_env_files(project, [name for name in project.settings.link if (main / name).exists()])


def _without_env_files(project: Project, names: list[str]) -> list[str]:
    return [name for name in names if name not in (project.env_name, project.shared_env_name)]


def _included(main: Path) -> list[str]:
    """Return what `.worktreeinclude` matches and git ignores; a folder where both mean the whole of it."""
    include = main / INCLUDE
    if not include.is_file():
        return []
    listing = ("ls-files", "-z", "--others", "--ignored", "--directory")
    ignored = read_git(*listing, "--exclude-standard", cwd=main).split("\0")
    matching = read_git(*listing, f"--exclude-from={include}", cwd=main).split("\0")
    # A trailing slash marks a folder; each list names only the topmost.
    both = {one for one in ignored if _within(one, matching)} | {one for one in matching if _within(one, ignored)}
    others = [row.path for row in list_worktrees(main)[1:]]
    return sorted(
        name.rstrip("/")
        for name in both - {""}
        if PurePosixPath(name).parts[0] not in _NEVER
        and not _DEPENDENCIES & set(PurePosixPath(name).parent.parts)
        and not any((main / name) in (place, *place.parents) for place in others)
    )


def _within(name: str, folders: list[str]) -> bool:
    parents = (name[: end + 1] for end, character in enumerate(name) if character == "/")
    known = set(folders)
    return name in known or any(parent in known for parent in parents)


def _writing(project: Project, record: Record, path: Path, narrator: Narrator) -> Step:
    """Return the step that writes files from templates."""
    templates = project.settings.write
    undoing: list[Callable[[], object]] = []

    def wanted() -> dict[str, str]:
        found = project.registry.require(record.slug)
        return {name: fill_template(project, found, template) for name, template in templates.items()}

    def do() -> str:
        written = []
        for name, text in wanted().items():
            target = path / name
            if os.path.lexists(target):
                if _text(target) != text:
                    narrator.say(f"  {name} is there already with other content, and stays")
                continue
            try:
                _make_room(path, target, undoing)
            except OSError as error:
                raise WorktreeError(f"`{target}` cannot be written", why=str(error)) from None
            undoing.append(partial(copy_tree.remove, target))
            exclude_from_git(project, path, name)
            dotenv_file.write(target, text)
            written.append(name)
        return _listed(written)

    def done() -> bool:
        if project.registry.find(record.slug) is None:
            return False
        return all(_text(path / name) == text for name, text in wanted().items())

    return Step(f"write {', '.join(templates)}", do, partial(_undo, undoing), done)


def _undo(undoing: list[Callable[[], object]]) -> None:
    while undoing:
        undoing.pop()()


def _make_room(path: Path, target: Path, undoing: list[Callable[[], object]]) -> None:
    """
    Make the folders that *target* lies in.

    Raises:
        WorktreeError: If a link of the branch's leads out of the worktree at *path*.
    """
    if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(path)):
        link = next(one for one in reversed(target.parents) if one.is_relative_to(path) and one.is_symlink())
        raise WorktreeError(
            f"`{target}` lies outside of its worktree",
            why=f"{link} is a link to {os.path.realpath(link)}",
            hint=f"ls -ld {shlex.quote(str(link))}",
        )
    for folder in reversed([folder for folder in target.parents if not folder.exists()]):
        folder.mkdir()
        undoing.append(partial(_remove_empty, folder))


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # somebody has put something there meanwhile
        folder.rmdir()


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
