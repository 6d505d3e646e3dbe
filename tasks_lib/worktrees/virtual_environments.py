"""
Recognize Python environments, which work only where they were made.

Their scripts name their own interpreter by its path, and packages installed in editable mode are imported from the path
they were installed from. A copy or link in another worktree would run the main worktree's code.
"""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.files import read_foreign_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_INSTALL = {
    "uv.lock": "uv sync",
    "poetry.lock": "poetry install",
    "pdm.lock": "pdm install",
    "pixi.lock": "pixi install",
    "Pipfile.lock": "PIPENV_VENV_IN_PROJECT=1 pipenv sync --dev",
    "environment.yml": "conda env create --prefix {name} --file environment.yml",
    "environment.yaml": "conda env create --prefix {name} --file environment.yaml",
    "requirements.txt": "python3 -m venv {name} && {name}/bin/pip install -r requirements.txt",
    "pyproject.toml": "python3 -m venv {name} && {name}/bin/pip install -e .",
    "setup.py": "python3 -m venv {name} && {name}/bin/pip install -e .",
}
"""The command that makes an environment, by a file beside it; the first that exists counts."""


def is_environment(folder: Path) -> bool:
    """Whether *folder* is an environment of venv, virtualenv, uv or conda."""
    # https://docs.python.org/3/library/site.html, and PREFIX_MAGIC_FILE in conda/base/constants.py.
    return (folder / "pyvenv.cfg").is_file() or (folder / "conda-meta" / "history").is_file()


def imports_from(folder: Path, tree: Path) -> bool:
    """Whether the environment *folder* imports packages from the directory *tree*, in which they are edited."""
    # Not the beginning of another directory's name.
    inside = re.compile(re.escape(str(tree)) + r"(?![\w.-])")
    for packages in folder.glob("lib/python*/site-packages"):
        for file in (*packages.glob("*.pth"), *packages.glob("__editable__*.py")):
            with suppress(OSError):
                if inside.search(read_foreign_file(file).decode(errors="replace")):
                    return True
    return False


def is_active_elsewhere(environ: Mapping[str, str], path: Path, trees: Iterable[Path]) -> bool:
    """Whether the activated environment is in one of *trees*, and not in the worktree at *path*."""
    active = environ.get("VIRTUAL_ENV")
    if not active:
        return False
    folder = Path(os.path.realpath(active))
    return not _is_within(folder, path) and any(_is_within(folder, tree) for tree in trees)


def _is_within(folder: Path, tree: Path) -> bool:
    return folder.is_relative_to(os.path.realpath(tree))


def install_command(folder: Path, main: Path) -> str:
    """Return the command that makes the environment *folder* of the main worktree *main* in another worktree."""
    found = next((command for file, command in _INSTALL.items() if (folder.parent / file).is_file()), None)
    command = (found or "python3 -m venv {name}").format(name=shlex.quote(folder.name))
    at = folder.parent.relative_to(main)
    return command if folder.parent == main else f"cd {shlex.quote(str(at))} && {command}"
