"""
Where the Loquent account meets a repository: its golden template, its `seed.env`, its migration tool.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tasks_lib.collections._task import Answer
from tasks_lib.output import pairs, size, table
from tasks_lib.steps import Plan, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from tasks_lib.databases.source import Source
    from tasks_lib.databases.url import DatabaseUrl
    from tasks_lib.loquent.block import Block, Inputs
    from tasks_lib.loquent.build import Outcome
    from tasks_lib.loquent.credentials import Credentials
    from tasks_lib.loquent.seed_env import Seed
    from tasks_lib.loquent.twilio import Account, Number
    from tasks_lib.output import Narrator
    from tasks_lib.toolchains.base import Command
    from tasks_lib.worktrees.project import Project

_SHOWN = 4
"""How many of the parts that were made are named."""

_PATIENCE = "10s"
"""How long to wait for a lock that somebody holds in the golden template, as PostgreSQL writes durations."""


@dataclass
class Building:
    """The golden template *into* of a repository, as its `seed.env` wants it."""

    project: Project
    narrator: Narrator
    into: str
    outcomes: Sequence[Outcome] = ()
    numbers: tuple[Number, ...] | None = None

    @cached_property
    def source(self) -> Source:
        """What worktrees clone."""
        return self.project.source(self.into)

    @cached_property
    def seed(self) -> Seed:
        """
        What the main worktree's `seed.env` says.

        Raises:
            SettingsError: If it cannot be used.
        """
        from tasks_lib.loquent.seed_env import load  # noqa: PLC0415 - `inv --list` stays fast

        return load(self.project.repository.main / "seed.env")

    @cached_property
    def credentials(self) -> Credentials:
        """The logins that are written down in the main worktree."""
        from tasks_lib.loquent.credentials import Credentials  # noqa: PLC0415 - as in `seed`

        return Credentials(self.project.repository.main / ".local-credentials")

    @cached_property
    def exists(self) -> bool:
        """Whether there was a database of that name when this was first asked."""
        from tasks_lib.databases.ownership import exists  # noqa: PLC0415 - as in `seed`

        with self.source.server.connect() as connection:
            return exists(connection, self.into)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """
        Connect to the golden template.

        Raises:
            DatabaseError: If somebody, a migration say, does not let go of a table there.
        """
        with self.source.server.connect(self.into) as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [_PATIENCE])
            yield connection

    def examine(self, blocks: Sequence[Block], *, force: bool) -> None:
        """
        Make sure, before any change, that the account can be made there.

        Raises:
            GoldentreeError: If not.
        """
        from tasks_lib.databases.url import DatabaseUrl  # noqa: PLC0415 - as in `seed`
        from tasks_lib.errors import GoldenMissingError  # noqa: PLC0415 - same
        from tasks_lib.loquent import safety, schema  # noqa: PLC0415 - same
        from tasks_lib.loquent.blocks import BLOCKS  # noqa: PLC0415 - same

        seed, server, pull_url = self.seed, self.source.server, self.project.settings.pull_url
        with server.connect() as connection:
            safety.require_name(connection, self.into)
            if not force:
                pulled = DatabaseUrl.parse(pull_url, source="PULL_DATABASE_URL") if pull_url else None
                safety.require_development(server, connection, self.into, pulled=pulled)
        if self.exists:
            with self.opened() as connection:
                if not force:
                    safety.require_sandbox(connection)
                schema.require(connection, self.into)
        elif len(blocks) < len(BLOCKS):
            raise GoldenMissingError(
                f"there is no golden template `{self.into}`",
                why="--only makes what is missing in one that is there",
                hint="leave out --only, which makes all of it",
            )
        if seed.shared is None and seed.parent is not None and any(block.name == "twilio" for block in blocks):
            self.narrator.say(
                "warning: seed.env has no shared Twilio account; a subaccount is made where there is none"
            )

    @property
    def schema(self) -> str:
        """Where the schema comes from, for people."""
        from tasks_lib.loquent.schema import BUNDLED  # noqa: PLC0415 - as in `seed`
        from tasks_lib.worktrees.tools import shown  # noqa: PLC0415 - same

        if self.exists:
            return "as it is"
        return "by goldentree's own migrations" if self.migration is BUNDLED else f"migrated by {shown(self.migration)}"

    def inputs(self) -> Inputs:
        """Return what the blocks are made of."""
        from tasks_lib.loquent.block import Inputs  # noqa: PLC0415 - as in `seed`

        return Inputs(self.seed, self._hash_of, self._twilio, self.numbers)

    def foresee(self, blocks: Sequence[Block]) -> Sequence[Outcome]:
        """Return what a build would do."""
        from tasks_lib.loquent.build import foresee  # noqa: PLC0415 - as in `seed`

        if not self.exists:
            return foresee(None, blocks, self.inputs())
        with self.opened() as connection:
            return foresee(connection, blocks, self.inputs())

    def plan(self, blocks: Sequence[Block]) -> Plan:
        """Return the steps that build it."""
        shared = self.seed.shared
        steps = []
        if shared and any(block.name == "numbers" for block in blocks):
            steps.append(Step(f"ask Twilio for the numbers of {shared.account.sid}", self._ask))
        if self.exists:
            steps.append(Step(f"make what is missing in {self.into}", lambda: self._top_up(blocks)))
        else:
            steps.append(Step(f"build the golden template {self.into}, {self.schema}", lambda: self._build(blocks)))
        return Plan([*steps], interrupted="either it was complete already, or nothing of it is left")

    def _ask(self) -> str:
        from tasks_lib.loquent.twilio import Twilio  # noqa: PLC0415 - as in `seed`

        assert self.seed.shared is not None  # noqa: S101 - the plan has asked
        twilio = Twilio(self.seed.shared.account, self.narrator.detail, self.seed.twilio_url)
        self.numbers = tuple(twilio.numbers())
        return str(len(self.numbers))

    def _top_up(self, blocks: Sequence[Block]) -> str:
        from tasks_lib.databases import ownership  # noqa: PLC0415 - as in `seed`
        from tasks_lib.loquent.build import fill  # noqa: PLC0415 - same

        with self.source.server.connect() as guard, self.opened() as connection:
            ownership.hold(guard, self.into, patience=_PATIENCE)
            with connection.transaction():
                self.outcomes = fill(connection, blocks, self.inputs())
        return self._remark()

    def _build(self, blocks: Sequence[Block]) -> str:
        from tasks_lib.databases.build import build  # noqa: PLC0415 - as in `seed`
        from tasks_lib.databases.server import Server  # noqa: PLC0415 - same
        from tasks_lib.loquent import schema  # noqa: PLC0415 - same
        from tasks_lib.loquent.build import fill  # noqa: PLC0415 - same
        from tasks_lib.worktrees.registry import now  # noqa: PLC0415 - same

        def account(url: DatabaseUrl) -> None:
            self._migrate(url)
            with Server(url).connect(url.database or "") as connection:
                schema.require(connection, self.into)
                with connection.transaction():
                    self.outcomes = fill(connection, blocks, self.inputs())
                connection.execute("ANALYZE")

        build(self.source, account, now=now(), say=self.narrator.detail)
        return self._remark()

    @cached_property
    def migration(self) -> Command:
        """What makes the schema: the repository's own migration tool, or the migrations that lie here."""
        from tasks_lib.loquent import schema  # noqa: PLC0415 - as in `seed`
        from tasks_lib.worktrees import tools  # noqa: PLC0415 - same

        return tools.command(self.project, self.project.repository.main, "migrate") or schema.BUNDLED

    def _migrate(self, url: DatabaseUrl) -> None:
        from tasks_lib.loquent.seed_env import KEYS  # noqa: PLC0415 - as in `seed`
        from tasks_lib.toolchains.run import run  # noqa: PLC0415 - same
        from tasks_lib.worktrees import tools  # noqa: PLC0415 - same

        environment = tools.environment(self.project, url, self.project.repository.main)
        # What the shell exports of Stripe's, or the application's `.env` holds, may be the live keys. SeaORM's programs
        # read that file themselves, but nothing that is set already, be it to nothing.
        ours = {name: value for name, value in environment.items() if not name.startswith("STRIPE_")}
        ours |= {key.name: "" for key in KEYS if key.name.startswith("STRIPE_")}
        run(
            self.migration,
            env={**ours, **self.seed.stripe},
            on_line=self.narrator.relay,
            hint="mend it, then run the same command",
            secrets=self.seed.secrets,
        )

    def _remark(self) -> str:
        made = sum(outcome.state == "made" for outcome in self.outcomes)
        return f"{made} of {len(self.outcomes)} blocks made"

    def _hash_of(self, email: str) -> str:
        from tasks_lib.loquent.credentials import hashed  # noqa: PLC0415 - as in `seed`
        from tasks_lib.worktrees.exclude import keep_out  # noqa: PLC0415 - same

        keep_out(self.project, self.credentials.path.parent, self.credentials.path.name)
        # Before the account: killed in between, the next run finds the password and makes the account with it.
        password, new = self.credentials.ensure(email)
        if new:
            self.narrator.detail(f"the password of {email} is in {self.credentials.path}")
        return hashed(password)

    def _twilio(self) -> Account:
        from tasks_lib.loquent.twilio import Twilio  # noqa: PLC0415 - as in `seed`

        if self.seed.shared:
            return self.seed.shared.account
        assert self.seed.parent is not None  # noqa: S101 - else the block is skipped
        parent = Twilio(self.seed.parent, self.narrator.detail, self.seed.twilio_url)
        return parent.subaccount(f"{self.project.repository.main.name} {self.into}")


def report(building: Building, outcomes: Sequence[Outcome], *, dry: bool = False) -> Answer:
    """Return what became of each block, or would."""
    from tasks_lib.databases import inspect  # noqa: PLC0415 - loads psycopg

    bytes_ = None if dry else inspect.size_and_tables(building.source.server, building.into)[0]
    data = {
        "golden": building.into,
        "created": not building.exists,
        "bytes": bytes_,
        "schema": building.schema,
        "blocks": [
            {"block": one.block, "state": one.state, "made": list(one.made), "reason": one.reason or None}
            for one in outcomes
        ],
    }
    words = {"made": "would make" if dry else "made", "there": "already there", "skipped": "skipped"}
    cells = [(one.block, words[one.state], one.reason or _listed(one.made)) for one in outcomes]
    how = [] if building.exists else ["would be new" if dry else "new"]
    how += [] if bytes_ is None else [size(bytes_)]
    facts = [("golden", f"{building.into}  ({', '.join(how)})" if how else building.into), ("schema", building.schema)]
    return Answer(data, f"{table(('BLOCK', 'STATE', 'WHAT'), cells)}\n\n{pairs(facts)}")


def _listed(parts: Sequence[str]) -> str:
    shown = ", ".join(parts[:_SHOWN])
    return f"{shown} and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else shown


def verified(building: Building) -> Answer:
    """
    Return whether the account is usable, a line for each check; status 1 unless it is.

    Raises:
        GoldenMissingError: If there is no such golden template.
        DatabaseError: If its schema is not Loquent's.
    """
    from tasks_lib.databases.golden import require_golden  # noqa: PLC0415 - loads psycopg
    from tasks_lib.loquent import schema  # noqa: PLC0415 - same
    from tasks_lib.loquent.verify import verify  # noqa: PLC0415 - same

    server = building.source.server
    with server.connect() as connection:
        require_golden(connection, building.into)
    with building.opened() as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        schema.require(connection, building.into)
        findings = verify(connection, building.inputs(), building.credentials)
    marks = {"ok": "✓", "broken": "✗", "skipped": "-"}
    cells = [(f"{marks[one.state]} {one.title}", one.text) for one in findings]
    usable = all(one.state != "broken" for one in findings)
    data = {
        "golden": building.into,
        "usable": usable,
        "checks": [{"check": one.title, "state": one.state, "found": one.text} for one in findings],
    }
    text = pairs(cells)
    if not usable:
        text += "\n\ninv golden.build makes what is missing"
    return Answer(data, text, ok=usable)
