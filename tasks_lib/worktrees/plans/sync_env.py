"""
Bring keys that the main worktree's env files gained later into the env files of a worktree. Existing keys stay.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_lib.errors import WorktreeError
from tasks_lib.plan import Plan, Step
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.env_file_edit import EnvFileEdit
from tasks_lib.worktrees.env.variables import find_in_texts, known_databases, require_no_foreign
from tasks_lib.worktrees.plans.planned import Planned
from tasks_lib.worktrees.reports.env_values import report_env_values
from tasks_lib.worktrees.reports.incomplete import command_for_worktree
from tasks_lib.worktrees.steps.env_file import env_file_values, main_only_values
from tasks_lib.worktrees.steps.worktree_record import has_leases

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record


@contextmanager
def plan_sync_env(project: Project, record: Record, path: Path) -> Iterator[Planned[dict[str, list[str]]]]:
    """
    Plan which keys to add, by file. The `with` body runs under the worktree's lock.

    Keys that goldentree sets get the worktree's own values. Databases are renamed as at creation. Credentials of the
    main worktree are left blank.

    Raises:
        EnvFileError: If a file cannot be edited, or a new key would lead to a database that is not the worktree's.
        WorktreeError: If the worktree was not set up completely.
    """
    with project.registry.working_on(record.slug):
        setup = command_for_worktree(project, path, "setup")
        if not (path / project.env_name).exists():
            raise WorktreeError(f"`{path / project.env_name}` does not exist", hint=setup)
        if not has_leases(project, record):
            raise WorktreeError(
                f"the worktree of `{record.identity.branch}` has no lease of some port in `worktree.ports`", hint=setup
            )
        missing: dict[str, list[str]] = {}
        for value in report_env_values(project, record, path, {}):
            if value.state == "missing":
                missing.setdefault(value.file, []).append(value.key)
        texts = _new_texts(project, record, path, missing)
        steps = [_AddKeys(EnvFileEdit(project, path, name), texts[name], missing[name]).step() for name in missing]
        yield Planned(missing, (Plan([*steps]),))


def _new_texts(project: Project, record: Record, path: Path, missing: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """
    Return the texts of the files with their *missing* keys.

    Raises:
        EnvFileError: If one cannot be edited, or a new key would lead to a database that is not the worktree's.
    """
    known = known_databases(project, record, project.server.url)
    own = env_file_values(project, record, path)
    texts = {}
    for name, keys in missing.items():
        edit = EnvFileEdit(project, path, name)
        main = dotenv_file.read(project.repository.main / name)
        values = dotenv_file.parse(main)
        set_here = main_only_values(project, values) | own.get(name, {})
        brought = [key for key in keys if key in values and edit.file.exists()]
        text = dotenv_file.append(dotenv_file.read(edit.source), main, brought, name=name)
        text = dotenv_file.edit(text, {key: set_here[key] for key in keys if key in set_here}, name=name)
        renamed, changed = known.rename(text, name)
        new = dotenv_file.parse(renamed)
        texts[name] = dotenv_file.edit(text, {key: new[key] or "" for key in changed if key in keys}, name=name)
    found = find_in_texts(project, known, texts, set(), {})
    require_no_foreign(variable for variable in found if variable.reference.key in missing[variable.reference.source])
    return texts


@dataclass(frozen=True)
class _AddKeys:
    edit: EnvFileEdit
    text: str
    keys: Sequence[str]

    def step(self) -> Step:
        title = f"add {', '.join(self.keys)} to {self.edit.name}"
        return Step(title, lambda: self.edit.replace(self.text), self.edit.undo)
