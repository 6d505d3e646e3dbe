"""
List the env files of a worktree: at its root and nested, tracked by git and not.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from tasks_lib.errors import EnvFileError
from tasks_lib.files import LARGEST
from tasks_lib.git.cli import read_git

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

TOOL_FOLDERS = frozenset(
    [
        "node_modules",
        "bower_components",
        "jspm_packages",
        ".pnpm-store",
        ".yarn",
        ".venv",
        ".tox",
        ".nox",
        "__pycache__",
        ".eggs",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        ".ipynb_checkpoints",
        "htmlcov",
        ".next",
        ".nuxt",
        ".svelte-kit",
        ".astro",
        ".turbo",
        ".parcel-cache",
        ".vite",
        ".angular",
        ".expo",
        ".cache",
        ".sass-cache",
        ".nyc_output",
        ".docusaurus",
        ".gradle",
        ".dart_tool",
        "DerivedData",
        "Pods",
        ".bundle",
        ".direnv",
        ".stack-work",
        "dist-newstyle",
        "elm-stuff",
        ".zig-cache",
        "zig-cache",
        "zig-out",
        ".terraform",
        ".terragrunt-cache",
        ".serverless",
    ]
)
"""Folders that only tools create, and can create again. They are large, and applications read no env file there."""

_NOT_SEARCHED = TOOL_FOLDERS | {"target", "venv", "build", "dist", "out", "vendor"}
_DEEPEST = 4
"""How many folders deep an untracked folder is searched; a cache or a server's data may be there."""

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


def is_env_file(name: str) -> bool:
    """Whether applications read variables from a file at the path *name*; an example to copy from does not count."""
    base = name.rpartition("/")[2]  # a Path for each of 28,000 files would take 0.1 s
    return bool(_ENV_FILE.fullmatch(base)) and not _EXAMPLE.search(base)


def list_env_files(root: Path) -> list[str]:
    """
    Return the env files of the worktree at *root*, relative to it, those at the root first.

    Raises:
        GitError: If git cannot list files there.
    """
    # Without an exclude list, `--others` also lists what git ignores; a wholly untracked folder ends with a slash.
    names = read_git("ls-files", "-z", "--cached", "--others", "--directory", cwd=root).split("\0")
    found = {*filter(is_env_file, names), *env_files_within(root, (name for name in names if name.endswith("/")))}
    return _sorted(name for name in found if os.path.lexists(root / name))


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
        EnvFileError: If one is too large to be an env file.
    """
    found = {}
    for entry in filter(None, read_git("ls-tree", "-r", "-z", commit, cwd=repository).split("\0")):
        header, _, name = entry.partition("\t")
        if is_env_file(name):
            mode, _, blob = header.split(" ")
            if int(read_git("cat-file", "-s", blob, cwd=repository)) > LARGEST:
                raise EnvFileError(f"`{name}` in commit {commit[:12]} is larger than {LARGEST >> 20} MB")
            found[name] = None if mode == "120000" else read_git("cat-file", "blob", blob, cwd=repository) + "\n"
    return {name: found[name] for name in _sorted(found)}


def leads_out(path: Path, name: str) -> bool:
    """Whether the file *name* of the worktree at *path* is, or is below, a link that leads out of it."""
    return not os.path.realpath(path / name).startswith(os.path.realpath(path) + os.sep)


def env_files_within(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield the env files among *names*, which are relative to *root*, and in the folders among them."""
    for name in names:
        path = root / name
        if name and path.is_dir() and not path.is_symlink():
            yield from _walk(root, path, _DEEPEST)
        elif is_env_file(name):
            yield name


def _walk(root: Path, folder: Path, depth: int) -> Iterator[str]:
    if folder.name in _NOT_SEARCHED or not depth:
        return
    with suppress(OSError):  # what this account may not read, its applications cannot read either
        entries = [*os.scandir(folder)]
        # A folder with a `.git` is another repository or worktree.
        if any(entry.name == ".git" for entry in entries):
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, folder / entry.name, depth - 1)
            elif is_env_file(entry.name):
                yield (folder / entry.name).relative_to(root).as_posix()


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.count("/"), name))
