"""
The guard: whatever works on a worktree's database first proves that it is that worktree's.

An application takes DATABASE_URL from its process environment before it looks into an env file. A
variable that was exported in the main worktree would send a linked worktree's migrations there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.errors import EnvFileError, SettingsError
from tasks_lib.settings import env_values
from tasks_lib.worktrees import envfile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tasks_lib.databases.url import DatabaseUrl
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


def require_unshadowed(project: Project, environ: Mapping[str, str]) -> None:
    """
    Refuse an exported DATABASE_URL that contradicts the main worktree's env file.

    Raises:
        SettingsError: Naming both, without passwords.
    """
    from tasks_lib.databases.url import DatabaseUrl  # noqa: PLC0415 - loads psycopg

    exported = environ.get("DATABASE_URL")
    written = env_values(project.repository.main / project.env_name).get("DATABASE_URL")
    if not exported or not written:
        return
    shell, file = DatabaseUrl.parse(exported), DatabaseUrl.parse(written, source="DATABASE_URL in .env")
    if shell.parameters != file.parameters:
        raise SettingsError(
            f"DATABASE_URL is exported in this shell as {shell}, but `.env` says {file}",
            why="the exported one would win over every env file, in the new worktree too",
            hint="unset DATABASE_URL",
        )


def require_own_database(project: Project, record: Record, path: Path, environ: Mapping[str, str]) -> DatabaseUrl:
    """
    Return the URL that the application in the worktree at *path* would use, after proving whose database it is.

    Raises:
        EnvFileError: If the env file names no database, or another's.
        SettingsError: If an exported DATABASE_URL names another's.
        OwnershipError: If the database does not bear this worktree's mark.
    """
    from tasks_lib.databases.ownership import require_ours  # noqa: PLC0415 - loads psycopg
    from tasks_lib.databases.server import Server  # noqa: PLC0415 - as above
    from tasks_lib.databases.url import DatabaseUrl  # noqa: PLC0415 - as above

    refuse_exported(record, environ)
    file = path / project.env_name
    text = environ.get("DATABASE_URL") or envfile.load(file).get("DATABASE_URL")
    if not text:
        raise EnvFileError(f"`{file}` names no database", hint="inv worktree.db")
    url = DatabaseUrl.parse(text, source=f"DATABASE_URL in {file}")
    if url.database != record.identity.database:
        raise EnvFileError(
            f"DATABASE_URL in `{file}` names database `{url.database}`",
            why=f"this worktree's database is `{record.identity.database}`",
            hint="inv worktree.db",
        )
    with Server(url).connect() as connection:
        require_ours(
            connection,
            record.identity.database,
            repository=project.registry.repository_id,
            slug=record.slug,
            role="clone",
        )
    return url


def refuse_exported(record: Record, environ: Mapping[str, str]) -> None:
    """
    Refuse an exported DATABASE_URL that names another database than this worktree's.

    Raises:
        SettingsError: Saying that the environment won, and over what.
    """
    from tasks_lib.databases.url import DatabaseUrl  # noqa: PLC0415 - loads psycopg

    exported = environ.get("DATABASE_URL")
    if not exported:
        return
    url = DatabaseUrl.parse(exported)
    if url.database != record.identity.database:
        raise SettingsError(
            f"DATABASE_URL is exported in this shell and names database `{url.database}`",
            why=f"the environment wins over the env file, so what runs here would not use `{record.identity.database}`",
            hint="unset DATABASE_URL",
        )
