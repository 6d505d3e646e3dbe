"""
Where the Loquent account meets a repository: its golden template, its `seed.env`, its migration tool.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer
from tasks_lib.output import format_first, pairs, size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_lib.databases.server.url import DatabaseUrl
    from tasks_lib.loquent.account_blocks import Outcome
    from tasks_lib.loquent.golden_build import GoldenBuild
    from tasks_lib.loquent.seed_env import Seed
    from tasks_lib.output import Narrator
    from tasks_lib.toolchains.base import Command
    from tasks_lib.worktrees.project import Project

_SHOWN = 4
"""How many of the parts that were made are named."""


def building(project: Project, narrator: Narrator, into: str | None, *, force: bool = False) -> GoldenBuild:
    """
    Return the golden template *into* of a repository, by default the configured one, as its `seed.env` wants it.

    Raises:
        SettingsError: If `seed.env` cannot be used.
        ToolchainError: If several migration tools are there and no setting says which.
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
    """Run *command* in the main worktree, on the database at *url*."""
    from tasks_lib.loquent.schema import BUNDLED
    from tasks_lib.loquent.seed_env import KEYS
    from tasks_lib.toolchains.run import run
    from tasks_lib.worktrees.steps.toolchain import command_environment, require_applied

    main = project.repository.main
    environment = command_environment(project, url, main)
    # What the shell exports of Stripe's, or the application's `.env` holds, may be the live keys. SeaORM's programs
    # read that file themselves, but nothing that is set already, be it to nothing.
    ours = {name: value for name, value in environment.items() if not name.startswith("STRIPE_")}
    ours |= {key.name: "" for key in KEYS if key.name.startswith("STRIPE_")}
    run(
        command,
        env={**ours, **seed.stripe},
        on_line=narrator.relay,
        hint="mend it, then run the same command",
        secrets=seed.secrets,
    )
    if command is not BUNDLED and url.database:
        require_applied(project, url.database, main, narrator)


def report(made: GoldenBuild, outcomes: Sequence[Outcome], *, dry: bool = False) -> Answer:
    """Return what became of each block, or would."""
    from tasks_lib.databases.compare import queries

    golden = made.source.golden
    bytes_ = None if dry else queries.read_size_and_table_count(made.source.server, golden)[0]
    data = {
        "golden": golden,
        "created": not made.exists,
        "bytes": bytes_,
        "schema": made.schema,
        "blocks": [
            {"block": one.block, "state": one.state, "made": list(one.made), "reason": one.reason or None}
            for one in outcomes
        ],
    }
    words = {"made": "would make" if dry else "made", "there": "already there", "skipped": "skipped"}
    cells = [(one.block, words[one.state], one.reason or format_first(one.made, _SHOWN)) for one in outcomes]
    how = [] if made.exists else ["would be new" if dry else "new"]
    how += [] if bytes_ is None else [size(bytes_)]
    facts = [("golden", f"{golden}  ({', '.join(how)})" if how else golden), ("schema", made.schema)]
    return Answer(data, f"{table(('BLOCK', 'STATE', 'WHAT'), cells)}\n\n{pairs(facts)}")


def verified(made: GoldenBuild) -> Answer:
    """
    Return whether the account is usable, a line for each check; status 1 unless it is.

    Raises:
        GoldenMissingError: If there is no such golden template.
        DatabaseError: If its schema is not Loquent's.
    """
    findings = made.verify()
    usable = all(one.state != "broken" for one in findings)
    data = {
        "golden": made.source.golden,
        "usable": usable,
        "checks": [{"check": one.title, "state": one.state, "found": one.text} for one in findings],
    }
    marks = {"ok": "✓", "broken": "✗", "skipped": "-"}
    text = pairs((f"{marks[one.state]} {one.title}", one.text) for one in findings)
    hint = "" if usable else "\n\ngolden.build makes what is missing, and leaves what is wrong"
    return Answer(data, text + hint, ok=usable)
