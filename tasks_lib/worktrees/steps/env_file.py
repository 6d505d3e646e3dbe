"""
Pointing: the env file of a worktree names its own database, port and names, and nobody else's.

In style `copy` it is the main worktree's file with these keys rewritten. In style `layered` it holds these keys
alone, and the file below it is a link to the main worktree's, so that a secret is changed in one place.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from tasks_lib.errors import SettingsError
from tasks_lib.plan import Step
from tasks_lib.settings import env_values
from tasks_lib.settings.values import filled
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.git_exclude import exclude_from_git, stop_excluding
from tasks_lib.worktrees.steps.databases import companion_databases, own_database_url

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


_MAIN_ONLY = ("PULL_DATABASE_URL", "LEDGER_URL")
"""Logins of servers that worktrees share, which are nobody's business there: tasks read them in the main one."""


def env_file_step(project: Project, record: Record, path: Path) -> Step:
    """Return the step that writes the env file of the worktree at *path*."""
    target, shared = path / project.env_name, _Shared(project, path)
    before: list[str | None] = []

    def do() -> str:
        before.append(dotenv_file.read(target) if target.exists() else None)
        written = worktree_values(project, project.registry.require(record.slug))
        exclude_from_git(project, path, project.env_name)
        dotenv_file.update_env_file(_source(project, path), target, written)
        # Second: with the link alone, applications would find the main worktree's database.
        return ", ".join(written) + shared.link()

    def undo() -> None:
        shared.unlink()
        if not before:
            return
        if before[0] is None:
            target.unlink(missing_ok=True)
        else:
            dotenv_file.write(target, before[0])
        stop_excluding(path, project.env_name)

    def done() -> bool:
        found = project.registry.find(record.slug)
        return found is not None and not shared.missing() and _is_pointed(target, worktree_values(project, found))

    return Step(f"point {project.env_name} at it", do, undo, done)


def worktree_values(project: Project, record: Record) -> dict[str, str]:
    """Return the keys that are rewritten in the worktree's env file, and their values."""
    found = template_fields(project, record)
    written = {key: template.format(**found) for key, template in project.settings.env.items()}
    written |= {one.companion.env: one.url.text for one in companion_databases(project, record)}
    main = set[str]().union(*(env_values(project.repository.main / name) for name in project.settings.env_files))
    return written | {key: "" for key in _MAIN_ONLY if key in main}


def template_fields(project: Project, record: Record) -> dict[str, str]:
    """Return what templates of env keys and files may name."""
    names = record.identity
    return {
        "branch": names.branch,
        "database": names.database,
        "database_url": own_database_url(project, record).text,
        "dev_url": names.dev_url,
        "port": str(record.port),
        "session": names.session,
        "slug": names.slug,
        "subdomain": names.subdomain,
    }


def fill_template(project: Project, record: Record, template: str) -> str:
    """Return the file *template* for the worktree of *record*."""
    return filled(template, template_fields(project, record))


def require_editable_env_file(project: Project, record: Record, path: Path) -> None:
    """
    Make sure, before any change, that the env file can be rewritten.

    Raises:
        EnvFileError: If it cannot.
    """
    dotenv_file.require_own(path / project.env_name)
    source = _source(project, path)
    dotenv_file.edit(dotenv_file.read(source), worktree_values(project, record), name=str(source))


def warn_about_main_database(project: Project, record: Record, path: Path, narrator: Narrator) -> None:
    """Warn of keys that go on naming the main worktree's database in the worktree at *path*."""
    from tasks_lib.databases.server.url import DatabaseUrl

    text = project.settings.database_url
    if text is None:
        return
    main, rewritten = _place(DatabaseUrl.parse(text)), worktree_values(project, record)
    for file in (_source(project, path), *(project.repository.main / name for name in project.settings.env_files[1:])):
        for key, value in env_values(file).items():
            if key in rewritten or not re.match(r"postgres(ql)?(\+\w+)?://", value):
                continue
            with suppress(SettingsError):  # nothing that libpq could go to
                if _place(DatabaseUrl.parse(value)) == main:
                    narrator.say(
                        f"warning: `{key}` in {file} names the main worktree's database `{main[1]}`, here too\n"
                        f'  to have it rewritten, in invoke.yaml: worktree: {{env: {{{key}: "{{database_url}}"}}}}'
                    )


def _place(url: DatabaseUrl) -> tuple[str | None, str | None]:
    return url.parameters.get("host"), url.database


def _source(project: Project, path: Path) -> Path:
    """Return the env file to start from: the worktree's own, else in style `copy` the main worktree's."""
    own = path / project.env_name
    if own.exists() or project.shared_env_name:
        return own
    return project.repository.main / project.env_name


def _is_pointed(target: Path, written: dict[str, str]) -> bool:
    with suppress(OSError):
        found = dotenv_file.load(target)
        return all(found.get(key) == value for key, value in written.items())
    return False


class _Shared:
    """The link to the env file that all worktrees share, in style `layered`."""

    def __init__(self, project: Project, path: Path) -> None:
        self._project = project
        self._path = path
        self._made = False
        name = project.shared_env_name
        self._ends = (project.repository.main / name, path / name) if name else None

    def missing(self) -> bool:
        """Whether there is something to link, and nothing in its place."""
        if self._ends is None:
            return False
        origin, link = self._ends
        return origin.is_file() and not link.exists() and not link.is_symlink()

    def link(self) -> str:
        """Make the link where it is missing; return what is to be said of it."""
        if self._ends is None:
            return ""
        origin, link = self._ends
        if self.missing():
            exclude_from_git(self._project, self._path, link.name)
            link.symlink_to(origin)
            self._made = True
            return f"; {link.name} linked"
        own = link.exists() and not (origin.exists() and link.samefile(origin))
        return f"; {link.name} is this worktree's own, and stays" if own else ""

    def unlink(self) -> None:
        """Remove the link that `link` made."""
        if self._ends and self._made:
            self._ends[1].unlink(missing_ok=True)
