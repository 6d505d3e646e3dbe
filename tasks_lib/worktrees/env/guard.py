"""
Prove that a database belongs to a worktree before anything works on it.

Applications prefer DATABASE_URL from the process environment to any env file, and from `.env.local` to
`.env`. A variable exported in the main worktree would send a linked worktree's migrations there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.errors import EnvFileError, SettingsError
from tasks_lib.settings import env_values
from tasks_lib.settings.references import is_encrypted
from tasks_lib.worktrees.env.variables import known_databases, read_variables, require_no_foreign, running_server_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.worktrees.env.variables import DatabaseVariable
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

OVERRIDING_ENV_FILES = (".env.development.local", ".env.local")
"""The files that Next.js, Vite, Rails' dotenv and others read before `.env`."""


def require_no_conflicting_export(project: Project, environ: Mapping[str, str]) -> None:
    """
    Refuse an exported DATABASE_URL that contradicts the main worktree's env files.

    Raises:
        SettingsError: If so, with both URLs, without passwords.
    """
    from tasks_lib.databases.server.url import DatabaseUrl

    exported, written = environ.get("DATABASE_URL"), _written(project, project.repository.main)
    if not exported or written is None:
        return
    file, text = written
    shell, ours = DatabaseUrl.parse(exported), DatabaseUrl.parse(text, source=f"DATABASE_URL in {file.name}")
    if shell.parameters != ours.parameters:
        raise SettingsError(
            f"DATABASE_URL is exported in this shell as {shell}, but `{file.name}` says {ours}",
            why="the exported one overrides every env file, in the new worktree too",
            hint="unset DATABASE_URL",
        )


def require_own_database(project: Project, record: Record, path: Path, environ: Mapping[str, str]) -> DatabaseUrl:
    """
    Return the URL that the application in the worktree at *path* would use, after proving that the worktree owns it.

    Raises:
        EnvFileError: If the env files name no database, or a variable leads to a foreign one.
        SettingsError: If an exported DATABASE_URL names another database.
        OwnershipError: If the database is not provably this worktree's.
    """
    from tasks_lib.databases.ownership.proof import require_ours
    from tasks_lib.databases.server.connection import Server

    url = require_own_database_name(project, record, path, environ)
    with Server(url).connect() as connection:
        # The env file may name another login, for which our own role is another one.
        server_url = running_server_url(project)
        logins = {server_url.parameter("user")} if server_url else set()
        require_ours(connection, record.identity.database, project.owner(record.slug), "clone", logins=logins)
    return url


def require_own_database_name(project: Project, record: Record, path: Path, environ: Mapping[str, str]) -> DatabaseUrl:
    """
    Return the URL that the application in the worktree at *path* would use, after checking its database name.

    Raises:
        EnvFileError: If the env files name no database, or a variable leads to a foreign one.
        SettingsError: If an exported DATABASE_URL names another database.
    """
    from tasks_lib.databases.server.url import DatabaseUrl

    refuse_exported_database_url(record, environ)
    variables = read_variables(project, path, known_databases(project, record, running_server_url(project)), environ)
    require_no_foreign(variables, renamed_by="inv worktree.db")
    refuse_overriding_env_file(project, record, path, variables)
    written = _written(project, path)
    if environ.get("DATABASE_URL"):
        file, url = None, DatabaseUrl.parse(environ["DATABASE_URL"])
    elif written is None:
        raise EnvFileError(f"`{path / project.env_name}` names no database", hint="inv worktree.db")
    else:
        file, text = written
        url = DatabaseUrl.parse(text, source=f"DATABASE_URL in {file}")
    if url.database != record.identity.database:
        raise EnvFileError(
            f"DATABASE_URL in `{file}` names database `{url.database}`",
            why=f"this worktree's database is `{record.identity.database}`",
            hint="inv worktree.db",
        )
    return url


def refuse_exported_database_url(record: Record, environ: Mapping[str, str]) -> None:
    """
    Refuse an exported DATABASE_URL that names another database than this worktree's.

    Raises:
        SettingsError: If so.
    """
    from tasks_lib.databases.server.url import DatabaseUrl

    exported = environ.get("DATABASE_URL")
    if not exported:
        return
    url = DatabaseUrl.parse(exported)
    if url.database != record.identity.database:
        raise SettingsError(
            f"DATABASE_URL is exported in this shell and names database `{url.database}`",
            why=f"the environment overrides the env file, so this shell would not use `{record.identity.database}`",
            hint="unset DATABASE_URL",
        )


def refuse_overriding_env_file(
    project: Project, record: Record, path: Path, variables: Iterable[DatabaseVariable]
) -> None:
    """
    Refuse a DATABASE_URL that frameworks prefer to the env file's, and that names another database.

    Args:
        path: The worktree.
        variables: What its env files name, or will name.

    Raises:
        EnvFileError: If there is one.
    """
    names = [name for name in OVERRIDING_ENV_FILES if name not in project.settings.style_files]
    for reference in (variable.reference for variable in variables if variable.whose != "own"):
        if reference.key == "DATABASE_URL" and reference.source in names:
            raise EnvFileError(
                f"DATABASE_URL in `{path / reference.source}` names database `{reference.database}`",
                why=f"many frameworks read {reference.source} before {project.env_name}, "
                f"which names this worktree's database `{record.identity.database}`",
                hint=f"remove DATABASE_URL from {reference.source}, or set WORKTREE_ENV=layered in the main worktree",
            )


def _written(project: Project, path: Path) -> tuple[Path, str] | None:
    """Return the first env file at *path* that sets DATABASE_URL, and its value; None if none does."""
    for file in (path / name for name in project.settings.style_files):
        text = env_values(file).get("DATABASE_URL")
        if text and not is_encrypted(text):
            return file, text
    return None
