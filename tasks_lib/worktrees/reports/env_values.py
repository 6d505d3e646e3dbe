"""
Report the values in a worktree's env files, and what the main worktree's files have that they lack. Changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tasks_lib.worktrees.env import dotenv_file
from tasks_lib.worktrees.env.env_files import leads_out, list_env_files
from tasks_lib.worktrees.env.git_exclude import is_tracked
from tasks_lib.worktrees.env.variables import find_in_texts, known_databases
from tasks_lib.worktrees.steps.env_file import env_file_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tasks_lib.worktrees.env.variables import DatabaseVariable
    from tasks_lib.worktrees.project import Project
    from tasks_lib.worktrees.registry import Record

EnvState = Literal["own", "wrong", "main", "changed", "added", "missing"]


@dataclass(frozen=True)
class EnvValue:
    """
    A key of an env file.

    Attributes:
        file: The file's path in the worktree.
        value: Its value without passwords, None where it may be a secret.
        state: `own` if goldentree set it, or it names one of the worktree's databases; `wrong` if goldentree would set
            another value. Of other keys, `main` if the main worktree's file has the same value, `changed` if another
            one, `added` if it lacks the key. `missing` if this file lacks a key that the main worktree's file has or
            goldentree would set.
        exported: Whether an exported variable takes its place.
    """

    file: str
    key: str
    value: str | None
    state: EnvState
    exported: bool


def report_env_values(project: Project, record: Record, path: Path, environ: Mapping[str, str]) -> list[EnvValue]:
    """
    Return the values in the env files of the worktree at *path*, and the keys that they lack.

    Raises:
        EnvFileError: If a file cannot be read.
        GitError: If git cannot list files.
    """
    own = env_file_values(project, record, path)
    shown = env_file_values(project, record, path, masked=True)
    texts = {name: dotenv_file.read(path / name) for name in dict.fromkeys([*own, *list_env_files(path)])}
    known = known_databases(project, record, project.server.url)
    outside = {name for name in texts if leads_out(path, name)}
    named = {
        (variable.reference.source, variable.reference.key): variable
        for variable in find_in_texts(project, known, texts, outside, {})
    }
    rows = []
    for name, text in texts.items():
        here = dotenv_file.parse(text)
        main = _values_of_main(project, path, name, here, own.get(name, {}))
        for key in dict.fromkeys([*here, *own.get(name, {}), *main]):
            state = _state(key, here, own.get(name, {}), main, named.get((name, key)))
            value = None
            if state == "own" and key in own.get(name, {}):
                value = shown[name][key]
            elif state == "own" and here[key] == named[name, key].reference.database:
                value = here[key]
            rows.append(EnvValue(name, key, value, state, key in environ and environ[key] != here.get(key)))
    return rows


def _state(
    key: str,
    here: Mapping[str, str | None],
    own: Mapping[str, str],
    main: Mapping[str, str | None],
    variable: DatabaseVariable | None,
) -> EnvState:
    if key not in here:
        return "missing"
    if key in own:
        return "own" if here[key] == own[key] else "wrong"
    if variable and variable.wrong:
        return "wrong"
    if variable and variable.whose in ("own", "companion"):
        return "own"
    if key not in main:
        return "added"
    return "main" if here[key] == main[key] else "changed"


def _values_of_main(
    project: Project, path: Path, name: str, here: Mapping[str, str | None], own: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the values of the main worktree's file *name* that the worktree's file should have, too."""
    if name == project.env_name and project.shared_env_name:
        return {}  # that file has a worktree's own values only
    main = dotenv_file.load(project.repository.main / name)
    if (path / name).is_symlink() or (not own and is_tracked(path, name)):
        # The file that the link points to, or the branch, decides which keys are in it.
        return {key: value for key, value in main.items() if key in here}
    return main
