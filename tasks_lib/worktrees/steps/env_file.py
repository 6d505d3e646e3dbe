"""
Write a worktree's env files, which name the worktree's own database, port and URL.

In style `copy` it is the main worktree's file with these keys changed. In style `layered` it has only these keys, and
the second env file is a link to the main worktree's, so that a secret is changed in one place.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.errors import EnvFileError
from tasks_lib.git.cli import read_git, run_git
from tasks_lib.plan import Step
from tasks_lib.settings import env_values
from tasks_lib.settings.values import substitute_env_fields, substitute_fields
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.env_file_edit import EnvFileEdit
from tasks_lib.worktrees.env.git_exclude import exclude_from_git, is_tracked
from tasks_lib.worktrees.steps.databases import companion_databases, own_database_url

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record
    from tasks_lib.worktrees.target import Target

_MAIN_ONLY = ("PULL_DATABASE_URL", "LEDGER_URL")
"""Credentials of shared servers; blanked in worktrees, because tasks read them from the main worktree."""


def env_file_step(target: Target) -> Step:
    """Return the step that writes the worktree's env files."""
    return _WriteEnvFiles(target, _SharedFile(target.project, target.path)).step()


@dataclass
class _WriteEnvFiles:
    """
    Writes the env files, and links the shared one in style `layered`.

    Attributes:
        edits: The edits that this run has begun.
    """

    target: Target
    shared: _SharedFile
    edits: list[EnvFileEdit] = field(default_factory=list)

    def step(self) -> Step:
        names = ", ".join([self.target.project.env_name, *self.target.project.settings.env_files])
        return Step(f"point {names} at it", self.do, self.undo, self.done)

    def do(self) -> str:
        project, path = self.target.project, self.target.path
        remarks = []
        for name, values in env_file_values(project, self.target.require_record(), path).items():
            edit = EnvFileEdit(project, path, name)
            self.edits.append(edit)
            edit.write(values)
            remarks.append(", ".join(values) if name == project.env_name else f"{name}: {', '.join(values)}")
        # The link comes second: with the link alone, applications would use the main worktree's database.
        return "; ".join(remarks) + self.shared.link()

    def undo(self) -> None:
        self.shared.unlink()
        while self.edits:
            self.edits.pop().undo()

    def done(self) -> bool:
        record, project, path = self.target.find_record(), self.target.project, self.target.path
        if record is None or self.shared.is_missing():
            return False
        files = env_file_values(project, record, path)
        return all(EnvFileEdit(project, path, name).is_done(values) for name, values in files.items())


def env_file_values(project: Project, record: Record, path: Path, *, masked: bool = False) -> dict[str, dict[str, str]]:
    """
    Return the keys that are set in each env file of the worktree at *path*, and their values, by the file's path in it.

    A file whose folder this branch does not have is left out, once the branch is checked out.

    Args:
        masked: Return the values for output, without passwords.
    """
    further = {
        name: _rule_values(project, record, name, masked=masked)
        for name in project.settings.env_files
        if (path / name).parent.is_dir() or not path.exists()
    }
    return {project.env_name: worktree_values(project, record, masked=masked), **further}


def _rule_values(project: Project, record: Record, name: str, *, masked: bool = False) -> dict[str, str]:
    """Return the keys that `worktree.env_files` sets in the file *name*, and their values."""
    fields = template_fields(project, record, masked=masked)
    main = env_values(project.repository.main / name)
    values = {key: substitute_env_fields(text, fields) for key, text in project.settings.env_files[name].items()}
    return main_only_values(project, main) | values


def worktree_values(project: Project, record: Record, *, masked: bool = False) -> dict[str, str]:
    """Return the keys that are set in the worktree's env file, and their values; *masked* without passwords."""
    fields = template_fields(project, record, masked=masked)
    values = {key: substitute_env_fields(template, fields) for key, template in project.settings.env.items()}
    values |= {companion.env: fields[f"url:{companion.name}"] for companion in project.settings.companions}
    main = set[str]().union(*(env_values(project.repository.main / name) for name in project.settings.style_files))
    return values | main_only_values(project, main)


def main_only_values(project: Project, main: Container[str]) -> dict[str, str]:
    """Return the keys that are blank in worktrees, of those that *main*, an env file of the main worktree, has."""
    return {key: "" for key in _MAIN_ONLY if key in main and key not in project.settings.keep_env}


def template_fields(project: Project, record: Record, *, masked: bool = False) -> dict[str, str]:
    """Return the values of the fields that templates of env keys and files may use; *masked* without passwords."""
    names, url = record.identity, own_database_url(project, record)
    fields = {
        "branch": names.branch,
        "database": names.database,
        "database_url": url.masked if masked else url.text,
        "db_host": url.parameter("host") or url.parameter("hostaddr"),
        "db_password": "***" if masked else url.parameter("password"),
        "db_port": url.parameter("port"),
        "db_user": url.parameter("user"),
        "dev_url": names.dev_url,
        "number": str(record.number),
        "port": str(record.port),
        "session": names.session,
        "slug": names.slug,
        "subdomain": names.subdomain,
    }
    for database in companion_databases(project, record):
        fields[f"database:{database.companion.name}"] = database.name
        fields[f"url:{database.companion.name}"] = database.url.masked if masked else database.url.text
    # The record of a planned worktree has no leases yet.
    return fields | {f"port:{name}": str(record.ports.get(name, 0)) for name in project.settings.ports}


def fill_template(project: Project, record: Record, template: str) -> str:
    """Return the text of the file *template* for the worktree of *record*."""
    return substitute_fields(template, template_fields(project, record))


def require_editable_env_file(target: Target) -> None:
    """
    Check that the env files can be rewritten, changing nothing.

    Raises:
        EnvFileError: If one cannot.
    """
    project, record, path = target.project, target.record, target.path
    EnvFileEdit(project, path, project.env_name).check(worktree_values(project, record))
    for name in project.settings.env_files:
        EnvFileEdit(project, path, name).check(_rule_values(project, record, name))


def require_no_tracked_link(project: Project, commit: str) -> None:
    """
    Check that no env file is a link in *commit*, which will be checked out.

    Raises:
        EnvFileError: If one is.
    """
    for name in (project.env_name, *project.settings.env_files):
        if read_git("ls-tree", commit, "--", name, cwd=project.repository.main).startswith("120000 "):
            raise EnvFileError(
                f"`{name}` is a symbolic link in commit {commit[:12]}",
                why="writing the worktree's env file would change the file that the link points to",
                hint=f"stop tracking it on the branch that the worktree starts from:\n"
                f"git rm --cached {name} && git commit -m 'Stop tracking {name}'",
            )


def read_env_file_origin(project: Project, path: Path, name: str) -> str:
    """Return the text that the worktree's env file *name* was made from: git's, or the main worktree's."""
    if is_tracked(path, name):
        return run_git("show", f":{name}", cwd=path).stdout
    if name == project.env_name and project.shared_env_name:
        return ""
    return dotenv_file.read(project.repository.main / name)


def differs_only_in(
    keys: Container[str], origin: str, file: Path, change: Callable[[str], str] = lambda text: text
) -> bool:
    """Whether the env file *file* is the text *origin* with other values for *keys*, and then with *change* made."""
    with suppress(EnvFileError):
        text = dotenv_file.read(file)
        values = {key: value or "" for key, value in dotenv_file.parse(text).items() if key in keys}
        return change(dotenv_file.edit(origin, values)) == text
    return False


class _SharedFile:
    """The link to the env file that all worktrees share, in style `layered`."""

    def __init__(self, project: Project, path: Path) -> None:
        self._project = project
        self._path = path
        self._linked = False
        name = project.shared_env_name
        self._ends = (project.repository.main / name, path / name) if name else None

    def is_missing(self) -> bool:
        """Whether the main worktree has the file and this one does not."""
        if self._ends is None:
            return False
        origin, link = self._ends
        return origin.is_file() and not link.exists() and not link.is_symlink()

    def link(self) -> str:
        """Make the link if it is missing; return a remark on it."""
        if self._ends is None:
            return ""
        origin, link = self._ends
        if self.is_missing():
            exclude_from_git(self._project, self._path, link.name)
            link.symlink_to(origin)
            self._linked = True
            return f"; {link.name} linked"
        own = link.exists() and not (origin.exists() and link.samefile(origin))
        return f"; {link.name} is this worktree's own, and stays" if own else ""

    def unlink(self) -> None:
        """Remove the link that `link` made."""
        if self._ends and self._linked:
            self._ends[1].unlink(missing_ok=True)
