"""
The golden template with the account in it: built from nothing, or given what it lacks.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.golden.build import build_golden
from tasks_lib.databases.ownership import comment
from tasks_lib.databases.ownership.advisory_lock import advisory_lock
from tasks_lib.databases.ownership.golden_template import require_may_create, require_open
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import GoldenMissingError
from tasks_lib.loquent import safety, schema
from tasks_lib.loquent.account_blocks import dry_run, make_missing
from tasks_lib.loquent.account_checks import verify_account
from tasks_lib.loquent.block import Inputs
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.loquent.credentials import hash_password
from tasks_lib.loquent.twilio import Twilio
from tasks_lib.plan import Plan, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg import Connection

    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.loquent.account_blocks import Outcome
    from tasks_lib.loquent.account_checks import Finding
    from tasks_lib.loquent.block import Block
    from tasks_lib.loquent.credentials import Credentials
    from tasks_lib.loquent.seed_env import Seed
    from tasks_lib.loquent.twilio import Account, Number
    from tasks_lib.output import Narrator

PATIENCE = "10s"
"""How long to wait for a lock that somebody holds in the golden template, as PostgreSQL writes durations."""


@dataclass(frozen=True)
class Migration:
    """
    What makes the schema of a new one.

    Attributes:
        title: How, for people.
        run: Migrates the database at a URL.
    """

    title: str
    run: Callable[[DatabaseUrl], object]


@dataclass
class GoldenBuild:
    """
    A golden template, as `seed.env` wants it.

    Attributes:
        source: Its server and name.
        name: The main worktree's directory; with golden's name, it names a subaccount.
        on_before_write_secrets: Is called before a password is written down.
        now: The time, in ISO 8601.
        force: Do so on another machine, too, and where it looks like production.
        outcomes: What became of each block, once the plan has run.
        numbers: What Twilio says that the shared account has; None until it was asked.
    """

    source: Source
    name: str
    seed: Seed
    credentials: Credentials
    migration: Migration
    narrator: Narrator
    on_before_write_secrets: Callable[[], object]
    now: str
    force: bool = False
    outcomes: Sequence[Outcome] = field(default=(), init=False)
    numbers: tuple[Number, ...] | None = field(default=None, init=False)

    @cached_property
    def exists(self) -> bool:
        """Whether there was a database of that name when this was first asked."""
        with self.source.server.connect() as connection:
            return comment.exists(connection, self.source.golden)

    def examine(self, blocks: Sequence[Block], *, pulled: str | None) -> None:
        """
        Make sure, before any change, that the account can be made there.

        Args:
            pulled: PULL_DATABASE_URL.

        Raises:
            GoldentreeError: If not.
        """
        server, golden = self.source.server, self.source.golden
        with server.connect() as connection:
            server.require_direct(connection)
            safety.require_name(connection, golden)
            if not self.force:
                url = DatabaseUrl.parse(pulled, source="PULL_DATABASE_URL") if pulled else None
                safety.require_development(server, connection, golden, pulled=url)
            if self.exists:
                require_open(connection, golden)
            else:
                require_may_create(connection)
        if self.exists:
            with self._opened() as connection:
                self._require_account(connection)
        elif len(blocks) < len(BLOCKS):
            raise GoldenMissingError(
                f"there is no golden template `{golden}`",
                why="--only makes what is missing in one that is there",
                hint="leave out --only, which makes all of it",
            )
        if self.seed.shared is None and self.seed.parent is not None and "twilio" in {one.name for one in blocks}:
            self.narrator.say(
                "warning: seed.env has no shared Twilio account; a subaccount is made where there is none"
            )

    def dry_run(self, blocks: Sequence[Block]) -> Sequence[Outcome]:
        """Return what a build would do."""
        if not self.exists:
            return dry_run(None, blocks, self._inputs())
        with self._opened() as connection:
            return dry_run(connection, blocks, self._inputs())

    def plan(self, blocks: Sequence[Block]) -> Plan:
        """Return the steps that build it."""
        shared, golden = self.seed.shared, self.source.golden
        if self.exists:
            last = Step(f"make what is missing in {golden}", lambda: self._top_up(blocks))
        else:
            last = Step(f"build the golden template {golden}, {self.schema}", lambda: self._build(blocks))
        interrupted = "either it was complete already, or nothing of it is left"
        if shared is None or "numbers" not in {block.name for block in blocks}:
            return Plan([last], interrupted=interrupted)
        account = shared.account
        ask = Step(f"ask Twilio for the numbers of {account.sid}", lambda: self._ask(account))
        return Plan([ask, last], interrupted=interrupted)

    @property
    def schema(self) -> str:
        """Where the schema comes from, for people."""
        return "as it is" if self.exists else self.migration.title

    def verify(self) -> list[Finding]:
        """
        Return what each check of the account has found.

        Raises:
            GoldenMissingError: If there is no such golden template.
            DatabaseError: If its schema is not Loquent's.
        """
        with self.source.server.connect() as connection:
            require_open(connection, self.source.golden)
        with self._opened() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            schema.require_account_schema(connection, self.source.golden)
            return verify_account(connection, self._inputs(), self.credentials)

    def _require_account(self, connection: Connection[Any]) -> None:
        schema.require_account_schema(connection, self.source.golden)
        if not self.force:
            # Of a new one, too: what migrated it may have found a key elsewhere.
            safety.require_sandbox(connection, self.source.golden)

    @contextmanager
    def _opened(self) -> Iterator[Connection[Any]]:
        """Connect to the golden template; whoever does not let go of a table there is not waited for for ever."""
        with self.source.server.connect(self.source.golden) as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [PATIENCE])
            # What a policy hides would look as if it were missing.
            connection.execute("SET row_security = off")
            yield connection

    def _ask(self, account: Account) -> str:
        self.numbers = tuple(Twilio(account, self.narrator.detail, self.seed.twilio_url).numbers())
        return str(len(self.numbers))

    def _top_up(self, blocks: Sequence[Block]) -> str:
        with self.source.server.connect() as guard, self._opened() as connection:
            advisory_lock(guard, self.source.golden, patience=PATIENCE)
            return self._fill(connection, blocks)

    def _build(self, blocks: Sequence[Block]) -> str:
        def account(url: DatabaseUrl) -> str:
            self.migration.run(url)
            with Server(url).connect(url.database or "") as connection:
                self._require_account(connection)
                remark = self._fill(connection, blocks)
                connection.execute("ANALYZE")
            return remark

        return build_golden(self.source, account, now=self.now, report=self.narrator.detail)

    def _fill(self, connection: Connection[Any], blocks: Sequence[Block]) -> str:
        with connection.transaction():
            self.outcomes = make_missing(connection, blocks, self._inputs())
        made = sum(outcome.state == "made" for outcome in self.outcomes)
        return f"{made} of {len(self.outcomes)} blocks made"

    def _inputs(self) -> Inputs:
        return Inputs(self.seed, self._hash_of, self._twilio, self.numbers)

    def _hash_of(self, email: str) -> str:
        self.on_before_write_secrets()
        # Before the account: killed in between, the next run finds the password and makes the account with it.
        password, new = self.credentials.ensure(email)
        if new:
            self.narrator.detail(f"the password of {email} is in {self.credentials.path}")
        return hash_password(password)

    def _twilio(self) -> Account:
        if self.seed.shared:
            return self.seed.shared.account
        assert self.seed.parent is not None  # noqa: S101 - else the block is skipped
        parent = Twilio(self.seed.parent, self.narrator.detail, self.seed.twilio_url)
        return parent.subaccount(f"{self.name} {self.source.golden}")
