"""
Copy or link files that git ignores from the main worktree into a worktree, and write files from templates.

Existing files stay. The lists are read from the main worktree, so that a branch cannot ask for other files.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tasks_lib.errors import WorktreeError
from tasks_lib.files import read_foreign_file
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.git.repository import list_worktrees
from tasks_lib.plan import Step
from tasks_lib.settings import env_values
from tasks_lib.worktrees import copy_tree
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.env_files import env_files_within
from tasks_lib.worktrees.env.git_exclude import exclude_from_git
from tasks_lib.worktrees.steps.env_file import fill_template
from tasks_lib.worktrees.virtual_environments import imports_from, install_command, is_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.target import Target

INCLUDE = ".worktreeinclude"
"""The main worktree's list, in the syntax of `.gitignore`, which several worktree tools share."""

_NEVER = (".git", ".conductor", ".worktrees")
"""Folders that contain other worktrees."""

_DEPENDENCIES = {"node_modules", "target", "venv", ".venv"}
"""Copied whole or not at all: a pattern for `.env` files must not create a folder of nothing else."""


_CARGO = ".rustc_info.json"
"""A file that cargo writes into every target directory."""

_TARGET_VARIABLES = ("CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR")


def file_steps(target: Target) -> list[Step]:
    """
    Return the steps that copy, link and write the worktree's files, none if nothing is configured.

    Raises:
        GitError: If git cannot list the ignored files.
    """
    project = target.project
    copied, linked = _without_environments(target, copied_paths(project), linked_paths(project))
    steps = []
    if copied or linked:
        steps.append(CopyAndLink(target, copied, linked).step())
    if project.settings.write:
        steps.append(WriteTemplates(target).step())
    return steps


def is_template_output(project: Project, record: Record, path: Path, name: str) -> bool:
    """Whether the file *name* of the worktree at *path* is what a template of the settings gives."""
    template = project.settings.write.get(name)
    return template is not None and _read(path / name) == fill_template(project, record, template)


@dataclass
class CopyAndLink:
    """
    Copies and links files of the main worktree.

    Attributes:
        undoing: Removes what `do` made, to be called from the end.
    """

    target: Target
    copied: list[str]
    linked: list[str]
    undoing: list[Callable[[], object]] = field(default_factory=list)

    def step(self) -> Step:
        """Return the step that does it."""
        return Step("copy and link files of the main worktree", self.do, self.undo, self.done)

    def do(self) -> str:
        """Copy and link what is missing; return a remark."""
        project, path = self.target.project, self.target.path
        made = []
        for name in [*self.copied, *self.linked]:
            source, file = project.repository.main / name, path / name
            if os.path.lexists(file):
                continue
            try:
                _make_folders(path, file, self.undoing)
                # Before the copy: an interrupted one leaves nothing, but a complete one must be removed.
                self.undoing.append(partial(copy_tree.remove, file))
                if name in self.linked:
                    file.symlink_to(source)
                    exclude_from_git(project, path, name)
                    made.append(f"{name} (linked)")
                elif copy_tree.copy(source, file, self.target.narrator.detail):
                    _hide_secrets(path, name)
                    made.append(name)
                    if (file / _CARGO).is_file() and not _shares_target(project, path):
                        _restore_times(project.repository.main, path)
            except OSError as error:
                raise WorktreeError(f"`{name}` cannot be copied to {path}", why=str(error)) from None
        return _format_names(made)

    def undo(self) -> None:
        """Remove what `do` made."""
        _undo(self.undoing)

    def done(self) -> bool:
        """Whether nothing is missing."""
        return all(os.path.lexists(self.target.path / name) for name in [*self.copied, *self.linked])


@dataclass
class WriteTemplates:
    """
    Writes the files that the settings describe by templates.

    Attributes:
        undoing: Removes what `do` made, to be called from the end.
    """

    target: Target
    undoing: list[Callable[[], object]] = field(default_factory=list)

    def step(self) -> Step:
        """Return the step that does it."""
        return Step(f"write {', '.join(self.target.project.settings.write)}", self.do, self.undo, self.done)

    def do(self) -> str:
        """Write what is missing; return a remark."""
        project, path = self.target.project, self.target.path
        written = []
        for name, text in self._texts(self.target.require_record()).items():
            file = path / name
            if os.path.lexists(file):
                if _read(file) != text:
                    self.target.narrator.say(f"  {name} exists already with other content, and stays")
                continue
            try:
                _make_folders(path, file, self.undoing)
            except OSError as error:
                raise WorktreeError(f"`{file}` cannot be written", why=str(error)) from None
            self.undoing.append(partial(copy_tree.remove, file))
            exclude_from_git(project, path, name)
            dotenv_file.write(file, text)
            written.append(name)
        return _format_names(written)

    def undo(self) -> None:
        """Remove what `do` made."""
        _undo(self.undoing)

    def done(self) -> bool:
        """Whether every file has the text that its template gives."""
        record = self.target.find_record()
        if record is None:
            return False
        return all(_read(self.target.path / name) == text for name, text in self._texts(record).items())

    def _texts(self, record: Record) -> dict[str, str]:
        project = self.target.project
        return {name: fill_template(project, record, template) for name, template in project.settings.write.items()}


def copied_paths(project: Project) -> list[str]:
    """Return the paths to copy, relative to the main worktree."""
    main = project.repository.main
    names = [PurePosixPath(name).as_posix() for name in project.settings.copy if os.path.lexists(main / name)]
    names += [name for name in _included(main) if name not in names]
    return _without_env_files(project, names)


def linked_paths(project: Project) -> list[str]:
    """Return the paths to link, relative to the main worktree."""
    main = project.repository.main
    return _without_env_files(project, [name for name in project.settings.link if (main / name).exists()])


def _without_env_files(project: Project, names: list[str]) -> list[str]:
    return [name for name in names if name not in (project.env_name, project.shared_env_name)]


def _without_environments(target: Target, copied: list[str], linked: list[str]) -> tuple[list[str], list[str]]:
    """Return the names without Python environments that work only in the main worktree, and say which they are."""
    project, main = target.project, target.project.repository.main
    left_out = [name for name in copied if is_environment(main / name)]
    left_out += [name for name in linked if is_environment(main / name) and imports_from(main / name, main)]
    for name in left_out:
        if os.path.lexists(target.path / name):
            continue
        command = install_command(main / name, main)
        line = f"worktree: {{after_setup: [{json.dumps(command)}]}}"
        cure = "" if command in project.settings.after_setup else f"\n  to make one here, in invoke.yaml: {line}"
        target.narrator.say(
            f"{name} is left out: it is a Python environment, and in this worktree would run the code of {main}{cure}"
        )
    return [name for name in copied if name not in left_out], [name for name in linked if name not in left_out]


def _included(main: Path) -> list[str]:
    """Return the paths that `.worktreeinclude` matches and git ignores; a folder if both name all of it."""
    include = main / INCLUDE
    if not include.is_file():
        return []
    listing = ("ls-files", "-z", "--others", "--ignored", "--directory")
    ignored = read_git(*listing, "--exclude-standard", cwd=main).split("\0")
    matching = read_git(*listing, f"--exclude-from={include}", cwd=main).split("\0")
    # A trailing slash marks a folder; each list names only the topmost.
    both = {name for name in ignored if _within(name, matching)} | {name for name in matching if _within(name, ignored)}
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


def _undo(undoing: list[Callable[[], object]]) -> None:
    while undoing:
        undoing.pop()()


def _make_folders(path: Path, file: Path, undoing: list[Callable[[], object]]) -> None:
    """
    Make the folders that contain *file*.

    Raises:
        WorktreeError: If a link in the branch leads out of the worktree at *path*.
    """
    if not Path(os.path.realpath(file.parent)).is_relative_to(os.path.realpath(path)):
        link = next(parent for parent in reversed(file.parents) if parent.is_relative_to(path) and parent.is_symlink())
        raise WorktreeError(
            f"`{file}` is outside of its worktree",
            why=f"{link} is a link to {os.path.realpath(link)}",
            hint=f"ls -ld {shlex.quote(str(link))}",
        )
    for folder in reversed([folder for folder in file.parents if not folder.exists()]):
        folder.mkdir()
        undoing.append(partial(_remove_empty, folder))


def _hide_secrets(path: Path, name: str) -> None:
    """Make the env files private that contain secrets, of the copy *name* in the worktree at *path*."""
    for file in env_files_within(path, [name]):
        if not (path / file).is_symlink() and dotenv_file.is_exposed(path / file):
            (path / file).chmod(stat.S_IMODE((path / file).stat().st_mode) & stat.S_IRWXU)


def _shares_target(project: Project, path: Path) -> bool:
    """
    Whether cargo may build somewhere else than in the worktree at *path*.

    In a target directory that worktrees share, equal times would make cargo run another branch's program.
    """
    variables = {*os.environ, *env_values(project.repository.main / project.env_name)}
    homes = [
        Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo"),
        *(folder / ".cargo" for folder in path.parents),
    ]
    files = [home / name for home in (path / ".cargo", *homes) for name in ("config.toml", "config")]
    # https://doc.rust-lang.org/cargo/reference/config.html#hierarchical-structure
    return not variables.isdisjoint(_TARGET_VARIABLES) or any("target-dir" in (_read(file) or "") for file in files)


def _restore_times(main: Path, path: Path) -> None:
    """
    Give the unchanged files of the worktree at *path* the times of modification that they have in *main*.

    git gives all files the time of the checkout, so cargo would compile everything again that it finds in a copied
    target directory.
    """
    ours, theirs = (_list_blobs(root) for root in (path, main))
    for name in (name for name, blob in ours.items() if theirs.get(name) == blob):
        with suppress(FileNotFoundError):  # deleted just now
            known, file = (main / name).lstat(), path / name
            # The same blob can have another text, by other settings of line ends or filters.
            if known.st_size == file.lstat().st_size:
                os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns), follow_symlinks=False)
    run_git("update-index", "-q", "--refresh", cwd=path, check=False)


def _list_blobs(root: Path) -> dict[str, str]:
    """Return the blobs of the tracked files of the worktree at *root* that are as git stores them."""
    changed = set(read_git("diff-files", "-z", "--name-only", cwd=root).split("\0"))
    found = {}
    for row in read_git("ls-files", "-z", "-v", "--stage", cwd=root).split("\0")[:-1]:
        description, _, name = row.partition("\t")
        tag, mode, blob, _ = description.split()
        # Other tags mark files whose changes git does not look for.
        if tag == "H" and mode != "160000" and name not in changed:
            found[name] = blob
    return found


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # another program has put something there
        folder.rmdir()


def _read(file: Path) -> str | None:
    try:
        return read_foreign_file(file).decode()
    except (OSError, UnicodeDecodeError):
        return None


def _format_names(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
