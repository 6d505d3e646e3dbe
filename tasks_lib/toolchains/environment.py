"""Build the environment of migrate and generate commands: its database, and the project's own tools first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tasks_lib.toolchains.catalog import FOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def child_environment(
    base: Mapping[str, str],
    *,
    url: str,
    libpq: Mapping[str, str],
    clients: Path | None,
    worktree: Path,
    main: Path,
    folder: str = ".",
    is_brought: Callable[[Path], bool] = lambda _: False,
) -> dict[str, str]:
    """
    Return the environment for migrate and generate commands.

    Args:
        base: The environment to start from.
        url: The worktree's database in the user's spelling of URLs; becomes DATABASE_URL unchanged.
        libpq: The same as libpq's variables, including PGPASSWORD, for tools that must not get the URL as an argument.
        clients: The folder of a `pg_dump` and a `psql` that fit the server, for tools that call them.
        worktree: Its `.venv/bin` and `node_modules/.bin` come before PATH.
        is_brought: Whether a branch has brought programs in such a folder, instead of the project's package manager;
            they come after PATH.
        main: The main worktree; its folders come after PATH, for worktrees that have not installed their own.
        folder: The command's folder in the worktree, which may have programs of its own.
    """
    return {
        **base,
        **libpq,
        "DATABASE_URL": url,
        "PATH": search_path(base.get("PATH"), worktree, main, folder, clients=clients, is_brought=is_brought),
        "PYTHONUNBUFFERED": "1",  # otherwise Django's lines arrive all at once, at the end
    }


def search_path(
    path: str | None,
    worktree: Path,
    main: Path,
    folder: str = ".",
    *,
    clients: Path | None = None,
    is_brought: Callable[[Path], bool] = lambda _: False,
) -> str:
    """Return the PATH of commands that run in *worktree*, made from *path*; see `child_environment`."""
    folders = (path or os.defpath).split(os.pathsep)
    # A folder on PATH keeps its place: moving `/usr/bin` to the front would hide an activated virtual environment.
    first = [str(clients)] if clients and str(clients) not in folders else []
    tools = {place: worktree != main and is_brought(place) for place in _tools(worktree, folder)}
    own = [place for place, brought in tools.items() if not brought]
    last = [*_tools(main, folder), *(place for place, brought in tools.items() if brought)]
    return os.pathsep.join([*map(str, own), *first, *folders, *map(str, last)])


def _tools(root: Path, folder: str) -> list[Path]:
    folders = dict.fromkeys((folder, *FOLDERS))
    places = (root / name / tools for name in folders for tools in (".venv/bin", "node_modules/.bin"))
    return [place for place in places if place.is_dir()]
