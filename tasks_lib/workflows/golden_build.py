"""
Prepare a build of Loquent's golden template from a repository: its `seed.env` and its migration tool.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.loquent.golden_build import GoldenBuild
    from tasks_lib.loquent.seed_env import Seed
    from tasks_lib.output import Narrator
    from tasks_lib.toolchains.base import Command
    from tasks_lib.worktrees.project import Project


def prepare_golden_build(project: Project, narrator: Narrator, into: str | None, *, force: bool = False) -> GoldenBuild:
    """
    Return the build of the golden template *into*, by default the configured one; nothing is changed yet.

    Args:
        force: Also build on a remote server, or on one that looks like production.

    Raises:
        SettingsError: If `seed.env` cannot be used.
        ToolchainError: If several migration tools are found and no setting chooses one.
    """
    from tasks_lib.loquent.credentials import Credentials
    from tasks_lib.loquent.golden_build import GoldenBuild, Migration
    from tasks_lib.loquent.schema import BUNDLED
    from tasks_lib.loquent.seed_env import load_seed_env
    from tasks_lib.worktrees.env.git_exclude import exclude_from_git
    from tasks_lib.worktrees.registry import now
    from tasks_lib.worktrees.steps.toolchain import find_command, format_command

    main = project.repository.main
    seed, own = load_seed_env(main / "seed.env"), find_command(project, main, "migrate")
    title = f"migrated by {format_command(own)}" if own else "by goldentree's own migrations"
    credentials = Credentials(main / ".local-credentials")
    return GoldenBuild(
        source=project.source() if into is None else replace(project.source(), golden=into),
        name=main.name,
        seed=seed,
        credentials=credentials,
        migration=Migration(title, partial(_migrate, project, narrator, seed, own or BUNDLED)),
        narrator=narrator,
        on_before_write_secrets=partial(exclude_from_git, project, main, credentials.path.name),
        now=now(),
        force=force,
    )


def _migrate(project: Project, narrator: Narrator, seed: Seed, command: Command, url: DatabaseUrl) -> None:
    """Run *command*, which migrates, in the main worktree and on the database at *url*."""
    from tasks_lib.loquent.schema import BUNDLED
    from tasks_lib.loquent.seed_env import KEYS
    from tasks_lib.toolchains.run import run
    from tasks_lib.worktrees.steps.toolchain import command_environment, require_applied

    main = project.repository.main
    environment = command_environment(project, url, main)
    # Stripe's variables in the shell or in the application's `.env` may be live keys, so blank them. An empty value
    # is enough: SeaORM's programs read `.env` themselves, but skip variables that are set.
    ours = {name: value for name, value in environment.items() if not name.startswith("STRIPE_")}
    ours |= {key.name: "" for key in KEYS if key.name.startswith("STRIPE_")}
    run(
        command,
        env={**ours, **seed.stripe},
        on_line=narrator.relay,
        hint="fix the migration, then run the same command again",
        secrets=seed.secrets,
    )
    if command is not BUNDLED and url.database:
        require_applied(project, url.database, main, narrator)
