"""
Build a golden template that holds a Loquent account, or add to one what it lacks.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.golden.build import build_golden
from tasks_lib.databases.ownership.advisory_lock import advisory_lock
from tasks_lib.databases.ownership.golden_template import require_may_create, require_open, require_primary
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.ddl import database_exists
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import GoldenMissingError, ToolchainError
from tasks_lib.loquent import safety, schema
from tasks_lib.loquent.account_blocks import dry_run, make_missing, select_blocks
from tasks_lib.loquent.account_checks import verify_account
from tasks_lib.loquent.block import Inputs
from tasks_lib.loquent.credentials import Credentials, hash_password
from tasks_lib.loquent.seed_env import KEYS, load_seed_env
from tasks_lib.loquent.twilio import Twilio
from tasks_lib.plan import Plan, Step
from tasks_lib.toolchains.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from psycopg import Connection

    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.loquent.account_blocks import Outcome
    from tasks_lib.loquent.account_checks import Finding
    from tasks_lib.loquent.twilio import Account, Number
    from tasks_lib.output import Narrator
    from tasks_lib.toolchains.base import Command

PATIENCE = "10s"
"""How long to wait for a lock that another session holds in the golden template, as PostgreSQL writes durations."""

EXTRA_MODULES = ("requests", "urllib3", "argon2")
"""What the extra `loquent` in pyproject.toml installs."""


def require_extra() -> None:
    """
    Make sure that the extra `loquent` is installed.

    Raises:
        ToolchainError: If it is not.
    """
    missing = [module for module in EXTRA_MODULES if find_spec(module) is None]
    if missing:
        raise ToolchainError(
            f"the extra `loquent` is not installed; missing: {', '.join(missing)}",
            why="golden.build and golden.verify need it for Twilio and for password hashes; no other task does",
            hint='python3 -m pip install "goldentree[loquent]"',
        )


@dataclass
class GoldenBuild:
    """
    One run of `golden.build` or `golden.verify`; the entry point `loquent` of the group `goldentree.builders`.

    Attributes:
        source: The golden template's server and name.
        main: The main worktree, which holds `seed.env` and `.local-credentials`. With golden's name, the name of this
            directory names a Twilio subaccount.
        command: The repository's own migrate command, described by *command_text*; None for our own migrations.
        environment: Returns the environment in which a migrate command reaches the database at a URL.
        require_applied: Raises if the repository's migrate command left migrations pending in a database.
        on_before_write_secrets: Called with the name of a file in *main* before a password is written to it.
        now: The time, in ISO 8601.
        only: The name of the one block to build; None for all.
        force: Allow another machine, and a server that looks like production.
        outcomes: What became of each block, once the plan has run.
        numbers: The shared account's phone numbers; None until Twilio was asked.

    Raises:
        ToolchainError: If the extra `loquent` is not installed.
        SettingsError: If block *only* does not exist, or `seed.env` cannot be used.
    """

    source: Source
    main: Path
    command: Command | None
    command_text: str
    environment: Callable[[DatabaseUrl], Mapping[str, str]]
    require_applied: Callable[[str], object]
    narrator: Narrator
    on_before_write_secrets: Callable[[str], object]
    now: str
    only: str | None = None
    force: bool = False
    outcomes: Sequence[Outcome] = field(default=(), init=False)
    numbers: tuple[Number, ...] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        require_extra()
        self.blocks = select_blocks(self.only)
        self.seed = load_seed_env(self.main / "seed.env")
        self.credentials = Credentials(self.main / ".local-credentials")

    @cached_property
    def exists(self) -> bool:
        """Whether golden existed when this was first asked."""
        with self.source.server.connect() as connection:
            return database_exists(connection, self.source.golden)

    @property
    def schema(self) -> str:
        """Where the schema comes from, for people."""
        if self.exists:
            return "as it is"
        return f"migrated by {self.command_text}" if self.command else "by goldentree's own migrations"

    def check(self, *, pull_url: str | None) -> None:
        """
        Make sure, before any change, that the account can be made.

        Args:
            pull_url: PULL_DATABASE_URL.

        Raises:
            GoldentreeError: If it cannot.
        """
        server, golden = self.source.server, self.source.golden
        with server.connect() as connection:
            server.require_direct(connection)
            safety.require_name(connection, golden)
            if not self.force:
                pulled = DatabaseUrl.parse(pull_url, source="PULL_DATABASE_URL") if pull_url else None
                safety.require_development(server, connection, golden, pulled=pulled)
            if self.exists:
                require_primary(connection)
                require_open(connection, golden)
            else:
                require_may_create(connection)
        if self.exists:
            with self._connect() as connection:
                self._require_account(connection)
        elif self.only:
            raise GoldenMissingError(
                f"the golden template `{golden}` does not exist",
                why="--only adds to an existing golden template",
                hint="leave out --only to build all of it:\ninv golden.build",
            )
        if self.seed.shared is None and self.seed.parent is not None and "twilio" in self._names:
            self.narrator.say(
                "warning: seed.env names no shared Twilio account; a subaccount is made unless one exists already"
            )

    def dry_run(self) -> Sequence[Outcome]:
        """Return what a build would do."""
        if not self.exists:
            return dry_run(None, self.blocks, self._inputs())
        with self._connect() as connection:
            return dry_run(connection, self.blocks, self._inputs())

    def plan(self) -> Plan:
        """Return the steps that build it."""
        shared, golden = self.seed.shared, self.source.golden
        if self.exists:
            last = Step(f"add what is missing to {golden}", self._top_up)
        else:
            last = Step(f"build the golden template {golden}, {self.schema}", self._build)
        interrupted = "either it was complete already, or nothing of it is left"
        if shared is None or "numbers" not in self._names:
            return Plan([last], interrupted=interrupted)
        account = shared.account
        ask = Step(f"ask Twilio for the numbers of {account.sid}", lambda: self._ask(account))
        return Plan([ask, last], interrupted=interrupted)

    def verify(self) -> list[Finding]:
        """
        Return what each check of the account has found.

        Raises:
            GoldenMissingError: If the golden template does not exist.
            DatabaseError: If its schema is not Loquent's.
        """
        with self.source.server.connect() as connection:
            require_open(connection, self.source.golden)
        with self._connect() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            schema.require_account_schema(connection, self.source.golden)
            return verify_account(connection, self._inputs(), self.credentials)

    @property
    def _names(self) -> set[str]:
        return {block.name for block in self.blocks}

    def _require_account(self, connection: Connection[Any]) -> None:
        schema.require_account_schema(connection, self.source.golden)
        if not self.force:
            # Also for a new golden template: the migrate command may have found a live key elsewhere.
            safety.require_sandbox(connection, self.source.golden)

    @contextmanager
    def _connect(self) -> Iterator[Connection[Any]]:
        """Connect to the golden template, with a limit on how long to wait for locks there."""
        with safety.connect_with_search_path(self.source.server, self.source.golden) as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [PATIENCE])
            yield connection

    def _ask(self, account: Account) -> str:
        self.numbers = tuple(Twilio(account, self.narrator.detail, self.seed.twilio_url).numbers())
        return str(len(self.numbers))

    def _top_up(self) -> str:
        with self.source.server.connect() as guard, self._connect() as connection:
            advisory_lock(guard, None, self.source.golden, purpose=f"to build `{self.source.golden}`")
            return self._make_missing(connection)

    def _build(self) -> str:
        def make_account(url: DatabaseUrl) -> str:
            self._migrate(url)
            with safety.connect_with_search_path(Server(url), url.database or "") as connection:
                self._require_account(connection)
                remark = self._make_missing(connection)
                connection.execute("ANALYZE")
            return remark

        return build_golden(self.source, make_account, now=self.now, report=self.narrator.detail)

    def _migrate(self, url: DatabaseUrl) -> None:
        """Run the migrate command in the main worktree, on the database at *url*."""
        # The shell's Stripe keys, or those of the application's `.env`, may be live. SeaORM's programs read that file
        # themselves, but skip every variable that is set, even if it is empty.
        env = {name: value for name, value in self.environment(url).items() if not name.startswith("STRIPE_")}
        env |= {key.name: "" for key in KEYS if key.name.startswith("STRIPE_")}
        run(
            self.command or schema.BUNDLED,
            env={**env, **self.seed.stripe},
            on_line=self.narrator.relay,
            hint="fix the migration, then build again:\ninv golden.build",
            secrets=self.seed.secrets,
        )
        if self.command and url.database:
            self.require_applied(url.database)

    def _make_missing(self, connection: Connection[Any]) -> str:
        with connection.transaction():
            self.outcomes = make_missing(connection, self.blocks, self._inputs())
        made = sum(outcome.state == "made" for outcome in self.outcomes)
        return f"{made} of {len(self.outcomes)} blocks made"

    def _inputs(self) -> Inputs:
        return Inputs(self.seed, self._hash_of, self._twilio, self.numbers)

    def _hash_of(self, email: str) -> str:
        self.on_before_write_secrets(self.credentials.path.name)
        # Write the password before the account: after a kill in between, the next run finds and uses it.
        password, new = self.credentials.ensure(email)
        if new:
            self.narrator.detail(f"the password of {email} is in {self.credentials.path}")
        return hash_password(password)

    def _twilio(self) -> Account:
        if self.seed.shared:
            return self.seed.shared.account
        assert self.seed.parent is not None  # noqa: S101 - else the block is skipped
        parent = Twilio(self.seed.parent, self.narrator.detail, self.seed.twilio_url)
        return parent.subaccount(f"{self.main.name} {self.source.golden}")
