"""Find the builder of golden templates, and prepare it for a repository."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from tasks_lib.errors import ToolchainError

if TYPE_CHECKING:
    from tasks_lib.loquent.golden_build import GoldenBuild
    from tasks_lib.output import Narrator
    from tasks_lib.worktrees.project import Project

GROUP = "goldentree.builders"


def load_builder() -> type[GoldenBuild]:
    """
    Return the class behind the entry point `loquent`.

    Raises:
        ToolchainError: If that entry point is not installed.
    """
    for point in entry_points(group=GROUP, name="loquent"):
        builder: type[GoldenBuild] = point.load()
        return builder
    raise ToolchainError(
        f"the entry point `loquent` of `{GROUP}` is not installed",
        why="it names the code that builds and verifies golden templates\n"
        "a checkout that was installed before this entry point was added has to be installed again",
        hint='python3 -m pip install "goldentree[loquent]"',
    )


def prepare_golden_build(
    project: Project, narrator: Narrator, *, into: str | None = None, only: str | None = None, force: bool = False
) -> GoldenBuild:
    """
    Return a build of the golden template *into*, by default the configured one.

    Args:
        only: The name of the one block to build.
        force: Allow another machine, and a server that looks like production.

    Raises:
        SettingsError: If `seed.env` cannot be used, or block *only* does not exist.
        ToolchainError: If the extra `loquent` is not installed, or the repository has several migration tools and no
            setting says which to use.
    """
    from tasks_lib.worktrees.env.git_exclude import exclude_from_git
    from tasks_lib.worktrees.registry import current_time
    from tasks_lib.worktrees.steps import toolchain

    main = project.repository.main
    command = toolchain.find_command(project, main, "migrate")
    return load_builder()(
        source=project.source() if into is None else replace(project.source(), golden=into),
        main=main,
        command=command,
        command_text=toolchain.format_command(command) if command else "",
        environment=partial(toolchain.command_environment, project, path=main),
        require_applied=partial(toolchain.require_applied, project, path=main, narrator=narrator),
        narrator=narrator,
        on_before_write_secrets=partial(exclude_from_git, project, main),
        now=current_time(),
        only=only,
        force=force,
    )
