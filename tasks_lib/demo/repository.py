"""
The repository on the stage: a small application, migrated by Alembic, with its models written by sqlacodegen.

Its files lie in `application/`: those of `main`, and those that the branch `feat-x` adds. Its first migrations are
Loquent's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from tasks_lib import loquent
from tasks_lib.errors import GitError, GoldentreeError, ToolchainError
from tasks_lib.loquent.golden_build import require_extra

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl

BRANCH = "feat-x"

GIT_ENVIRONMENT = {
    # Hooks, signatures and templates that people have configured are for their own repositories.
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{role}_NAME": "Ada" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "ada@example.org" for role in ("AUTHOR", "COMMITTER")},
}


def require_tools(path: str) -> None:
    """
    Make sure that what the application needs is on *path*.

    Raises:
        GitError: If git is not installed.
        ToolchainError: If Alembic, sqlacodegen or the extra `loquent` is not.
    """
    require_extra()
    if not shutil.which("git", path=path):
        raise GitError("git is not installed")
    missing = [tool for tool in ("alembic", "sqlacodegen") if not shutil.which(tool, path=path)]
    if missing:
        raise ToolchainError(
            f"{' and '.join(f'`{tool}`' for tool in missing)} cannot be found",
            why="the application on the stage is migrated by Alembic, and sqlacodegen writes its models",
            hint="python3 -m pip install alembic sqlacodegen",
        )


def make(path: Path, golden: DatabaseUrl, environment: Mapping[str, str]) -> None:
    """
    Make the repository at *path*, whose env file names the database of *golden*.

    Raises:
        GoldentreeError: If git fails.
    """
    with as_file(files(loquent).joinpath("migrations")) as migrations:
        # The application has a configuration of its own.
        ignore = shutil.ignore_patterns("__pycache__", "alembic.ini")
        shutil.copytree(migrations, path / "app" / "migrations", ignore=ignore)

    def git(*arguments: str) -> None:
        _run(("git", *arguments), path, environment)

    def commit(tree: str, message: str) -> None:
        _lay_out(tree, path, golden)
        git("add", "--all")
        git("commit", "--quiet", "--message", message)

    git("init", "--quiet", "--initial-branch=main")
    commit("main", "Show saved views")
    git("switch", "--quiet", "--create", BRANCH)
    commit(BRANCH, "Call contacts back on the channel they prefer")
    git("switch", "--quiet", "main")


def _lay_out(tree: str, path: Path, golden: DatabaseUrl) -> None:
    """Copy the files of *tree*; a leading `dot-` is a dot, which would make the file count here as well."""
    with as_file(files(__package__).joinpath("application", tree)) as source:
        shutil.copytree(source, path, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for file in path.glob("dot-*"):
        file.rename(path / file.name.replace("dot-", ".", 1))
    env = path / ".env"
    env.chmod(0o600)
    env.write_text(env.read_text().replace("{database_url}", golden.text))


def _run(command: tuple[str, ...], cwd: Path, environment: Mapping[str, str]) -> None:
    ran = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise GoldentreeError(f"`{' '.join(command)}` exited with {ran.returncode}", why=ran.stderr + ran.stdout)
