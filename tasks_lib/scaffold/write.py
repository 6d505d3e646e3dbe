"""
Fill in the templates, and write the files that do not exist. Existing files are never changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.errors import GitError, WorktreeError
from tasks_lib.git.cli import read_git
from tasks_lib.scaffold.detect import run_command
from tasks_lib.scaffold.table import HOOKS, TEMPLATES
from tasks_lib.settings.table import SETTINGS
from tasks_lib.settings.values import DEFAULT_ENV
from tasks_lib.worktrees.env.variables import name_companion

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tasks_lib.scaffold.table import Template
    from tasks_lib.settings import Settings
    from tasks_lib.settings.references import Reference

_COMPANION = """\
#     - name: world
#       env: WORLD_DATABASE_URL
#       setup: npx workflow-postgres-setup"""

NO_RUN_COMMAND = "echo 'name the command that starts your application here' >&2; exit 1"


@dataclass(frozen=True)
class File:
    """
    A file that is written, or exists already.

    Attributes:
        name: Its path relative to the main worktree; absolute if it is outside.
        outcome: `created`; `kept` if it exists; `identical` if it exists and contains the whole template.
        text: The text with which it is created.
        snippet: The text to add by hand to a file that is kept.
        remark: A note for the user.
    """

    name: str
    path: Path
    outcome: str
    text: str
    snippet: str | None = None
    remark: str | None = None


def examine(settings: Settings, *, flags: Collection[str], run: str, shared: Sequence[Reference] = ()) -> list[File]:
    """
    Return the files that *flags* request and those that are always written, with their outcomes.

    Args:
        settings: The project's settings; the files go to its main worktree.
        run: The command that starts the application; empty to detect it.
        shared: Variables that name databases which all worktrees would share; `invoke.yaml` offers companions for them.

    Raises:
        GitError: If a git hook is requested, but the hooks directory is outside of the repository.
    """
    main = settings.main
    values = {
        # The escapes of a JSON string are those of a TOML one as well.
        "@run@": json.dumps(run or run_command(main) or NO_RUN_COMMAND, ensure_ascii=False)[1:-1],
        "@golden@": settings.template,
        "@prefix@": settings.prefix,
        "@project@": settings.project,
        "@companions@": "\n".join(map(_companion, shared)) or _COMPANION,
        "@variables@": "\n".join(
            f"\n# {setting.why}; default: {setting.default_text}\n#{setting.env}="
            for setting in SETTINGS
            if setting.env
        ),
        "@keys@": "\n".join(f"{key}={template}" for key, template in DEFAULT_ENV.items()),
    }
    return [_file(main, template, values) for template in TEMPLATES if template.flag is None or template.flag in flags]


def _companion(reference: Reference) -> str:
    name, key = name_companion(reference)
    return f"#     - {{name: {name}, env: {key}}}  # {reference.database}, which {reference.source} names"


def write(file: File) -> None:
    """
    Create *file*, executable if it is a script.

    Raises:
        WorktreeError: If it cannot be created, for example because another process has created it.
    """
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with file.path.open("x", encoding="utf-8") as opened:
            try:
                opened.write(file.text)
                opened.flush()
            except OSError:
                file.path.unlink()  # on a full disk; half of it would count as the user's own
                raise
        if file.text.startswith("#!"):
            file.path.chmod(0o755)
    except OSError as error:
        raise WorktreeError(f"`{file.path}` cannot be created: {error.strerror}") from None


def _file(main: Path, template: Template, values: Mapping[str, str]) -> File:
    path, source, remark = main / template.path, template.source, None
    if template.path.startswith(HOOKS):
        hooks, remark = _hooks(main)
        path = hooks / template.path.removeprefix(f"{HOOKS}/")
    for other, other_source in template.instead.items():
        if (main / other).exists():
            path, source = main / other, other_source
    text = _filled(source, values)
    snippet = text.removeprefix("#!/bin/sh\n")
    name = str(path.relative_to(main)) if path.is_relative_to(main) else str(path)
    if not path.is_symlink() and not path.exists():
        return File(name, path, "created", text, remark=remark)
    if path.is_file() and snippet.strip() in path.read_text(encoding="utf-8", errors="replace"):
        return File(name, path, "identical", text, remark=remark)
    return File(name, path, "kept", text, snippet, remark)


def _hooks(main: Path) -> tuple[Path, str | None]:
    """
    Return the directory in which git looks for the hooks of the repository at *main*, and a remark about it.

    Raises:
        GitError: If that directory is outside of the repository.
    """
    hooks = Path(read_git("rev-parse", "--path-format=absolute", "--git-path", "hooks", cwd=main))
    common = Path(read_git("rev-parse", "--path-format=absolute", "--git-common-dir", cwd=main))
    if hooks.is_relative_to(common):
        return hooks, None
    if hooks.is_relative_to(main):
        return hooks, f"core.hooksPath is {hooks.relative_to(main)}: commit it, worktrees that lack it do not run it"
    raise GitError(
        f"git looks for hooks in `{hooks}`",
        why="that is outside of this repository, so the hook would run in others as well",
        hint="give this repository its own hooks:\ngit config core.hooksPath .githooks",
    )


def _filled(source: str, values: Mapping[str, str]) -> str:
    text = files(__package__).joinpath("templates", source).read_text(encoding="utf-8")
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text
