"""
List the env files of a worktree: at its root and nested, tracked by git and not.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tasks_lib.git.cli import read_git

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEPENDENCIES = frozenset({"node_modules", "target", "venv", ".venv"})
"""Folders of other people's code; large, and without env files that the project's applications read."""

_ENV_FILE = re.compile(r"\.env|\.env\..+|.+\.env|\.dev\.vars(\..+)?|\.flaskenv")
_EXAMPLE = re.compile(
    r"\.(example|sample|template|tmpl|tpl|dist|defaults?|schema|md|keys|vault|bak|orig|swp|d\.ts)\b|~$"
)
# direnv, compose, Rails, Ecto and Spring.
_CONFIGURATION = (
    ":(glob)**/.envrc",
    ":(glob)**/*compose*.y*ml",
    ":(glob)**/config/database.yml",
    ":(glob)**/config/*.exs",
    ":(glob)**/application*.y*ml",
    ":(glob)**/application*.properties",
)
_PATHSPECS = tuple(f":(glob)**/{name}" for name in (".env", ".env.*", "*.env", ".dev.vars*", ".flaskenv"))


def is_env_file(name: str) -> bool:
    """Whether applications read variables from a file at the path *name*; an example to copy from does not count."""
    base = PurePosixPath(name).name
    return bool(_ENV_FILE.fullmatch(base)) and not _EXAMPLE.search(base)


def list_env_files(root: Path) -> list[str]:
    """
    Return the env files of the worktree at *root*, relative to it, those at the root first.

    Raises:
        GitError: If git cannot list files there.
    """
    names = set(filter(is_env_file, read_git("ls-files", "-z", "--cached", "--", *_PATHSPECS, cwd=root).split("\0")))
    # Without an exclude list, `--others` also lists what git ignores.
    names |= set(env_files_within(root, read_git("ls-files", "-z", "--others", "--directory", cwd=root).split("\0")))
    return _sorted(name for name in names if os.path.lexists(root / name))


def list_other_configuration(root: Path) -> list[str]:
    """
    Return the files of the worktree at *root* that may name a database, and that only people edit.

    Raises:
        GitError: If git cannot list files there.
    """
    tracked = filter(None, read_git("ls-files", "-z", "--cached", "--", *_CONFIGURATION, cwd=root).split("\0"))
    return _sorted(name for name in {*tracked, ".envrc"} if (root / name).is_file())


def list_tracked_env_files(repository: Path, commit: str) -> dict[str, str | None]:
    """
    Return the env files of *commit* and their texts; None for a symbolic link.

    Raises:
        GitError: If git cannot read them.
    """
    found = {}
    for entry in filter(None, read_git("ls-tree", "-r", "-z", commit, cwd=repository).split("\0")):
        header, _, name = entry.partition("\t")
        mode, _, blob = header.split(" ")
        if is_env_file(name):
            found[name] = None if mode == "120000" else read_git("cat-file", "blob", blob, cwd=repository) + "\n"
    return {name: found[name] for name in _sorted(found)}


def env_files_within(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield the env files among *names*, which are relative to *root*, and in the folders among them."""
    for name in names:
        path = root / name
        if name and path.is_dir() and not path.is_symlink():
            if path.name not in DEPENDENCIES:
                yield from _walk(root, path)
        elif is_env_file(name):
            yield name


def _walk(root: Path, folder: Path) -> Iterator[str]:
    for directory, folders, files in os.walk(folder):
        # A folder with a `.git` is another repository or worktree.
        folders[:] = [] if ".git" in files + folders else [name for name in folders if name not in DEPENDENCIES]
        if ".git" not in files + folders or Path(directory) == root:
            yield from ((Path(directory) / name).relative_to(root).as_posix() for name in files if is_env_file(name))


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.count("/"), name))
