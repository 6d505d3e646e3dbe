"""
Rename foreign databases in every env file of a worktree, so that no application and no tool there reaches them.

`env_file` has written the keys that the settings name. This step renames golden's database, the main worktree's and
those of other worktrees wherever else they are named: in further keys, in nested files and in files that git tracks.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.errors import EnvFileError, GoldentreeError
from tasks_lib.output import format_first
from tasks_lib.plan import Step
from tasks_lib.settings.references import replace_database, resolve
from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.env_file_edit import EnvFileEdit
from tasks_lib.worktrees.env.env_files import env_files_within, leads_out, list_env_files, list_tracked_env_files
from tasks_lib.worktrees.env.guard import refuse_overriding_env_file
from tasks_lib.worktrees.env.variables import (
    find_in_texts,
    known_databases,
    read_variables,
    require_no_foreign,
    suggest_companion,
)
from tasks_lib.worktrees.steps.env_file import env_file_values
from tasks_lib.worktrees.steps.files import copied_paths, linked_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks_lib.worktrees.env.variables import DatabaseVariable, KnownDatabases
    from tasks_lib.worktrees.target import Target


def rename_databases_step(target: Target) -> Step:
    """
    Return the step that renames foreign databases in the env files, after checking that none will be left.

    Databases that all worktrees share are reported, with the lines that would give each worktree its own.

    Raises:
        EnvFileError: If a variable would still lead to a foreign database. Names it, and the lines that cure it.
        SettingsError: As `known_databases`.
    """
    known = known_databases(target.project, target.record, target.project.server.url)
    expected, linked = _expect_variables(target, known)
    for variable in expected:
        if variable.wrong and variable.reference.source in linked:
            raise EnvFileError(
                variable.describe(),
                why="it is a link to the main worktree's file, which must not be changed",
                hint="copy it instead of linking it, in invoke.yaml:\n"
                f"worktree: {{copy: [{variable.reference.source}]}}",
            )
    require_no_foreign(expected)
    refuse_overriding_env_file(target.project, target.record, target.path, expected)
    _report_shared(target, expected)
    return _RenameDatabases(target, known).step()


@dataclass
class _RenameDatabases:
    """
    Renames foreign databases.

    Attributes:
        edits: What this run wrote, in order.
    """

    target: Target
    known: KnownDatabases
    edits: list[EnvFileEdit] = field(default_factory=list)

    def step(self) -> Step:
        return Step("rename databases in env files", self.do, self.undo, self.done)

    def do(self) -> str:
        project, path, changed = self.target.project, self.target.path, []
        texts = {name: dotenv_file.read(path / name, strict=False) for name in list_env_files(path)}
        outside = {name for name in texts if leads_out(path, name)}
        for name, before in list(texts.items()):
            if not (path / name).is_symlink():  # a link to another of these files
                text, keys = self.known.rename(before, name)
                if keys:
                    changed += [f"{key} in {name}" for key in keys]
                    self._write(name, text)
                    texts[name] = text
        if overrides := _overriding_values(self.target, self.known, texts, outside):
            own = project.env_name
            self._write(own, dotenv_file.edit(texts[own], overrides, name=own))
            changed += [f"{key} in {own}" for key in overrides]
        require_no_foreign(read_variables(project, path, self.known, {}, texts))
        return format_first(changed, 8) if changed else "nothing to rename"

    def undo(self) -> None:
        for edit in reversed(self.edits):
            edit.undo()

    def done(self) -> bool:
        with suppress(OSError, GoldentreeError):
            if self.target.path.exists():
                return not any(
                    variable.wrong for variable in read_variables(self.target.project, self.target.path, self.known, {})
                )
        return False

    def _write(self, name: str, text: str) -> None:
        edit = EnvFileEdit(self.target.project, self.target.path, name)
        self.edits.append(edit)
        edit.replace(text)


def _expect_variables(target: Target, known: KnownDatabases) -> tuple[list[DatabaseVariable], set[str]]:
    """Return the variables that the worktree's env files will have, and which of the files are links out of it."""
    project, path, main = target.project, target.path, target.project.repository.main
    outside: set[str] = set()
    if path.exists():
        texts = {name: dotenv_file.read(path / name, strict=False) for name in list_env_files(path)}
        outside = {name for name in texts if leads_out(path, name)}
    else:
        commit = target.record.base or project.repository.commit(f"refs/heads/{target.record.identity.branch}")
        tracked = list_tracked_env_files(main, commit) if commit else {}
        texts = {name: text for name, text in tracked.items() if text is not None}
    for name in env_files_within(main, copied_paths(project)):
        if name not in texts and not (main / name).is_symlink():
            texts[name] = dotenv_file.read(main / name, strict=False)
    for name in env_files_within(main, [*linked_paths(project), *filter(None, [project.shared_env_name])]):
        if name not in texts and (main / name).is_file():
            texts[name] = dotenv_file.read(main / name, strict=False)
            outside.add(name)
    for name, values in env_file_values(project, target.record, path).items():
        source = EnvFileEdit(project, path, name).source
        texts[name] = dotenv_file.edit(texts.get(name) or dotenv_file.read(source), values, name=str(source))
    renamed = {name: text if name in outside else known.rename(text, name)[0] for name, text in texts.items()}
    overrides = _overriding_values(target, known, renamed, outside)
    renamed[project.env_name] = dotenv_file.edit(renamed[project.env_name], overrides, name=project.env_name)
    return find_in_texts(project, known, renamed, outside, {}), outside


def _overriding_values(
    target: Target, known: KnownDatabases, texts: Mapping[str, str], outside: set[str]
) -> dict[str, str]:
    """Return the values by which the worktree's own file overrides the file that all worktrees share by a link."""
    name = target.project.shared_env_name
    if name not in outside:
        return {}
    values = resolve(dotenv_file.parse(texts[name]), {})
    return {
        variable.reference.key: replace_database(
            values[variable.reference.key], variable.reference, variable.replacement, force=True
        )
        for variable in find_in_texts(target.project, known, texts, outside, {})
        if variable.reference.source == name and variable.wrong and variable.replacement
    }


def _report_shared(target: Target, variables: list[DatabaseVariable]) -> None:
    """Report databases that all worktrees share, each once, with the line that gives each worktree its own."""
    shared = {
        variable.reference.database: variable
        for variable in reversed(variables)
        if variable.whose == "other" and variable.here and not variable.kept
    }
    for variable in shared.values():
        line = f"to give each its own, in invoke.yaml: {suggest_companion(variable.reference)}"
        target.narrator.say(f"{variable.describe()}\n  {line}")
