"""
Keep what `git status` does not show of a removed worktree: ignored files and hidden edits.

They may contain passwords, so they are not saved as git objects, which others may read and which stay after their ref.
A folder beside the removal record, closed to others, has copies until the record is deleted.

Dependencies, caches and build output are left out, and files that equal the main worktree's or that goldentree wrote.
When in doubt, a file is kept.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from tasks_lib.errors import EnvFileError, GoldentreeError, WorktreeError
from tasks_lib.escaping import escape_line
from tasks_lib.files import delete_tree
from tasks_lib.git.cli import git_succeeds
from tasks_lib.git.unseen import hide_edit, list_hidden_edits, list_ignored
from tasks_lib.output import format_first, format_size
from tasks_lib.worktrees import copy_tree
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.env_files import TOOL_FOLDERS, is_env_file
from tasks_lib.worktrees.env.variables import known_databases, running_server_url
from tasks_lib.worktrees.removal import removal_record
from tasks_lib.worktrees.removal.checks import is_copy
from tasks_lib.worktrees.steps.env_file import differs_only_in, env_file_values, read_env_file_origin
from tasks_lib.worktrees.steps.files import is_template_output

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.removal.removal_record import RemovalRecord

_MARKERS = frozenset({"CACHEDIR.TAG", "pyvenv.cfg"})
"""A folder with one of these is a cache (https://bford.info/cachedir/), such as cargo's, or a virtual environment."""

_OUTPUT = frozenset(["build", "dist", "out", "target", "obj", "vendor", "deps", "_build", "coverage"])
"""Build output and dependencies, mostly. People use these names too, so what looks like a database is kept."""

_DATA = re.compile(r"\.(?:db3?|sqlite3?|duckdb|mdb|rdb|dump)(?:-wal|-shm|-journal)?$|^\.env\b", re.IGNORECASE)

_GENERATED = ("*.py[co]", "*.class", "*.o", "*.tsbuildinfo", ".eslintcache", ".DS_Store", "Thumbs.db", ".coverage*")

_JOURNAL = re.compile(r"-(?:wal|shm|journal)$")
"""SQLite's files beside a database. They belong to that very database, so all of them are kept or none."""

_SHOWN = 10


@dataclass(frozen=True)
class UnseenFile:
    """
    A file that `git status` does not show.

    Attributes:
        name: Its path in the worktree; a folder that cannot be read has a slash at its end.
        bytes: Its size, None if it cannot be read.
        tag: git's tag if it is tracked, see `list_hidden_edits`.
    """

    name: str
    bytes: int | None
    tag: str = ""


@dataclass(frozen=True)
class UnseenFiles:
    """The files that a removal keeps, and those that it deletes for good."""

    kept: tuple[UnseenFile, ...] = ()
    lost: tuple[UnseenFile, ...] = ()

    @property
    def text(self) -> str:
        """What happens to which file, for people; empty if there is none."""
        said = [f"keeping {_format(self.kept)} for worktree.undo"] if self.kept else []
        said += [f"deleting {_format(self.lost)} for good"] if self.lost else []
        return ", ".join(said)


def find_unseen_files(project: Project, record: Record | None, path: Path) -> UnseenFiles:
    """
    Return what `git status` does not show and the user made in the worktree at *path*.

    Of more than `worktree.keep_ignored` allows, the smallest files are kept.

    Args:
        record: The worktree's record, None if it has none.

    Raises:
        GitError: If git cannot tell.
    """
    main = project.repository.main
    ignored = [file for name in list_ignored(path) for file in _list_files(project, path, name)]
    copies = {file.name for file in ignored if _is_copy_of(path / file.name, main / file.name)}
    changed = {_JOURNAL.sub("", file.name) for file in ignored if file.name not in copies}
    found = [file for file in ignored if _JOURNAL.sub("", file.name) in changed]
    found += [file for name, tag in list_hidden_edits(path).items() for file in _describe(path, name, tag)]
    ours = set() if record is None else _list_ours(project, record, path, [file.name for file in found])
    found = [file for file in found if file.name not in ours]
    room = project.settings.keep_ignored
    kept, lost = [], []
    for file in sorted(found, key=lambda file: file.bytes or 0):
        if file.bytes is None or file.bytes > room:
            lost.append(file)
        else:
            room -= file.bytes
            kept.append(file)
    return UnseenFiles(tuple(kept), tuple(lost))


def require_all_kept(project: Project, path: Path, unseen: UnseenFiles) -> None:
    """
    Refuse to remove the worktree at *path* while not all of *unseen* can be kept.

    Raises:
        WorktreeError: If so.
    """
    if unseen.lost:
        count = len(unseen.lost)
        raise WorktreeError(
            f"{path} holds {count} ignored file{'s' if count > 1 else ''} that cannot be kept for worktree.undo",
            why=f"{_format(unseen.lost)}\nup to {format_size(project.settings.keep_ignored)} are kept "
            "(WORKTREE_KEEP_IGNORED), if they can be read",
            hint="move them elsewhere, name them in `worktree.discard` of invoke.yaml if they are of no use, "
            f"or delete them for good:\ninv worktree.remove {shlex.quote(str(path))} --force",
        )


def keep_files(project: Project, removal: RemovalRecord, path: Path, unseen: UnseenFiles) -> RemovalRecord:
    """
    Copy what *unseen* keeps from the worktree at *path*, and return the record of the removal with the tags.

    Raises:
        WorktreeError: If a file cannot be copied.
    """
    folder = removal_record.kept_folder(project, removal)
    delete_tree(folder)
    try:
        for file in unseen.kept:
            target = folder / file.name
            if not folder.exists():
                folder.mkdir(mode=0o700)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_tree.copy(path / file.name, target, lambda _: None)
        for copied in sorted((copied for copied in folder.rglob("*") if _is_folder(copied)), reverse=True):
            shutil.copystat(path / copied.relative_to(folder), copied)
    except OSError as error:
        raise WorktreeError(f"ignored files of {path} cannot be kept", why=str(error)) from None
    return msgspec.structs.replace(removal, hidden={file.name: file.tag for file in unseen.kept if file.tag})


def restore_files(project: Project, removal: RemovalRecord, path: Path, *, overwrite: bool) -> str:
    """
    Copy back into the worktree at *path* what `keep_files` kept, and return a remark.

    Args:
        overwrite: Replace files that exist, because only git and its hooks have written there.

    Raises:
        WorktreeError: If a file exists with other content, and *overwrite* is off. Nothing is overwritten.
    """
    folder = removal_record.kept_folder(project, removal)
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if not _is_folder(file))
    keys = _find_own_keys(project, removal.worktree, path)
    missing = [name for name in names if not _has_arrived(folder / name, path / name, keys.get(name))]
    for name in missing:
        file = path / name
        is_free = not os.path.lexists(file) or _is_replaceable(project, removal, path, name)
        # A link may have taken the place of its folder.
        is_outside = not Path(os.path.realpath(file.parent)).is_relative_to(os.path.realpath(path))
        if is_outside or not (is_free or (overwrite and not _is_folder(file))):
            raise WorktreeError(
                f"`{file}` {'is outside of the worktree' if is_outside else 'exists already with other content'}",
                why="the removed worktree had an ignored file of this name, and nothing is overwritten",
                hint=f"move it elsewhere, then run:\ninv worktree.undo {removal.key}",
            )
    made = {parent for name in missing for parent in (path / name).parents if not parent.exists()}
    try:
        for name in missing:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            copy_tree.remove(path / name)
            copy_tree.copy(folder / name, path / name, lambda _: None)
        for parent in sorted(made, reverse=True):
            shutil.copystat(folder / parent.relative_to(path), parent)
    except OSError as error:
        raise WorktreeError(f"ignored files cannot be restored to {path}", why=str(error)) from None
    for name, tag in removal.hidden.items():
        hide_edit(path, name, tag)
    return format_first([escape_line(name) for name in names], _SHOWN)


def _list_files(project: Project, path: Path, name: str) -> Iterator[UnseenFile]:
    """Yield the files of *name*, as git lists it, that are neither dependencies nor caches nor build output."""
    *parents, _ = parts = PurePosixPath(name).parts
    if _is_discarded(project, name.rstrip("/")) or not TOOL_FOLDERS.isdisjoint(parts):
        return
    in_output = not _OUTPUT.isdisjoint(parents)
    if name.endswith("/"):
        yield from _walk(project, path, name.rstrip("/"), in_output=in_output)
    elif _is_wanted(parts[-1], in_output=in_output):
        yield from _describe(path, name)


def _walk(project: Project, path: Path, name: str, *, in_output: bool) -> Iterator[UnseenFile]:
    try:
        with os.scandir(path / name) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except FileNotFoundError:  # just deleted
        return
    except OSError:
        yield UnseenFile(f"{name}/", None)
        return
    if not _MARKERS.isdisjoint(entry.name for entry in entries):
        return
    in_output = in_output or PurePosixPath(name).name in _OUTPUT
    for entry in entries:
        inside = f"{name}/{entry.name}"
        if _is_discarded(project, inside):
            continue
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in TOOL_FOLDERS:
                yield from _walk(project, path, inside, in_output=in_output)
        # Neither sockets nor pipes.
        elif (entry.is_symlink() or entry.is_file()) and _is_wanted(entry.name, in_output=in_output):
            yield from _describe(path, inside)


def _is_copy_of(file: Path, original: Path) -> bool:
    with suppress(OSError):  # unreadable, or just deleted
        return is_copy(file, original)
    return False


def _is_wanted(name: str, *, in_output: bool) -> bool:
    if any(fnmatchcase(name, pattern) for pattern in _GENERATED):
        return False
    return not in_output or _DATA.search(name) is not None


def _is_discarded(project: Project, name: str) -> bool:
    path = PurePosixPath(name)
    texts = {text for part in (path, *path.parents) for text in (str(part), part.name)}
    return any(fnmatchcase(text, pattern.rstrip("/")) for pattern in project.settings.discard for text in texts)


def _describe(path: Path, name: str, tag: str = "") -> Iterator[UnseenFile]:
    """Yield the file *name*, unless a process in the worktree has just deleted it."""
    file = path / name
    with suppress(FileNotFoundError):
        size = file.lstat().st_size
        yield UnseenFile(name, size if file.is_symlink() or os.access(file, os.R_OK) else None, tag)


def _list_ours(project: Project, record: Record, path: Path, names: list[str]) -> set[str]:
    """Return those of *names* that goldentree wrote and would write again."""
    keys = _find_own_keys(project, record, path)
    ours = set()
    # Without an answer, such as for an env file that cannot be parsed, it counts as the user's.
    with suppress(GoldentreeError):
        known = known_databases(project, record, running_server_url(project))
        for name in filter(is_env_file, names):
            with suppress(GoldentreeError):
                origin = read_env_file_origin(project, path, name)
                if differs_only_in(keys.get(name, {}), origin, path / name, lambda text: known.rename(text, name)[0]):  # noqa: B023 - called at once
                    ours.add(name)
    with suppress(GoldentreeError):
        ours |= {name for name in project.settings.write if is_template_output(project, record, path, name)}
    return ours


def _find_own_keys(project: Project, record: Record | None, path: Path) -> dict[str, dict[str, str]]:
    """Return what goldentree sets in env files; nothing if that is unknown, such as without the embedded server."""
    with suppress(GoldentreeError):
        return {} if record is None else env_file_values(project, record, path)
    return {}


def _has_arrived(kept: Path, file: Path, keys: Container[str] | None) -> bool:
    """Whether *file* is *kept*, apart from the *keys* that env files are given again."""
    if not os.path.lexists(file):
        return False
    with suppress(EnvFileError):
        return is_copy(kept, file) or (keys is not None and differs_only_in(keys, dotenv_file.read(kept), file))
    return False


def _is_replaceable(project: Project, removal: RemovalRecord, path: Path, name: str) -> bool:
    """Whether git or the main worktree has the file *name* as it is."""
    if name in removal.hidden:
        return git_succeeds("diff", "--quiet", "--", name, cwd=path)
    return is_copy(path / name, project.repository.main / name)


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _format(files: tuple[UnseenFile, ...]) -> str:
    """Return names and sizes, the largest first."""
    ordered = sorted(files, key=lambda file: -(file.bytes or 0))
    names = [
        f"{escape_line(file.name)} ({'unreadable' if file.bytes is None else format_size(file.bytes)})"
        for file in ordered
    ]
    return format_first(names, _SHOWN)
