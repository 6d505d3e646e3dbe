"""Write the files that a repository needs for these tasks, and for the tools that call them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tasks_lib.collections._project import current_project
from tasks_lib.collections._task import Answer, task
from tasks_lib.collections.views.results import preview
from tasks_lib.errors import WorktreeError
from tasks_lib.output import Narrator, format_pairs

if TYPE_CHECKING:
    from invoke.context import Context


@task(
    help={
        "run": "Starts the application, for Conductor; by default that of justfile, package.json or Procfile.dev.",
        "git": "Add a post-checkout hook, for worktrees created by plain `git worktree add`.",
        "claude": "Add the hooks that Claude Code calls to create and remove worktrees.",
        "cursor": "Add .cursor/worktrees.json.",
        "worktrunk": "Add .config/wt.toml.",
        "compose": "Add a compose file with PostgreSQL 17.",
        "mise": "Add a .mise.toml that exports the env files.",
        "env-templates": "Add examples of the env files of the `layered` style.",
        "seed": "Add seed.env.example, the template for the seed.env that golden.build reads.",
    },
    returns=(
        "`[{path, outcome, snippet}]`; `outcome` is `created`, `identical` or `kept`; with `kept`, "
        "`snippet` is what the file lacks"
    ),
)
def init(
    c: Context,
    run: str = "",
    git: bool = False,
    claude: bool = False,
    cursor: bool = False,
    worktrunk: bool = False,
    compose: bool = False,
    mise: bool = False,
    env_templates: bool = False,
    seed: bool = False,
    json: bool = False,
) -> Answer:
    """
    Write tasks.py, invoke.yaml, .env.example and conductor.json

    Flags add files for other tools. Existing files are never changed: the output
    shows what to add to them by hand.
    """
    from tasks_lib.scaffold.write import examine, write
    from tasks_lib.worktrees.env.variables import find_shared_databases

    project = current_project()
    if project.repository.linked:
        raise WorktreeError(
            "`init` is for the main worktree",
            why="settings and tasks are read from there",
            hint=f"cd {shlex.quote(str(project.repository.main))}",
        )
    asked = {
        "git": git,
        "claude": claude,
        "cursor": cursor,
        "worktrunk": worktrunk,
        "compose": compose,
        "mise": mise,
        "env-templates": env_templates,
        "seed": seed,
    }
    flags = [flag for flag, wanted in asked.items() if wanted]
    shared = find_shared_databases(project)
    found = examine(project.settings, flags=flags, run=run, shared=shared)
    new = [file for file in found if file.outcome == "created"]
    if c.config.run.dry:
        return preview([f"create {file.name}" for file in new])
    for file in new:
        write(file)
    for file in found:
        if file.remark:
            Narrator().say(f"{file.name}: {file.remark}")
    for reference in shared:
        Narrator().say(
            f"all worktrees will share database `{reference.database}`, which `{reference.key}` in `{reference.source}`"
            " names; invoke.yaml has the lines that give each its own, under `companions`"
        )
    lines = [format_pairs((file.outcome, file.name) for file in found)]
    lines += [
        f"\n{file.name} exists and is not changed; add this to it:\n\n{file.snippet}" for file in found if file.snippet
    ]
    data = [{"path": file.name, "outcome": file.outcome, "snippet": file.snippet} for file in found]
    return Answer(data, "\n".join(lines))
