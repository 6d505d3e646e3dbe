"""
Open a ledger, and run transactions on it.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tasks_lib.errors import LedgerError
from tasks_lib.ledger.repositories import agents, documents, errands, review, talk, work
from tasks_lib.ledger.repositories.base import refused
from tasks_lib.ledger.store.clock import now
from tasks_lib.ledger.store.engine import BUSY_SECONDS, postgres_engine, reading, sqlite_engine, writing
from tasks_lib.ledger.store.migrate import ensure_schema, is_current
from tasks_lib.ledger.store.reader import sqlite_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tasks_lib.ledger.store.clock import Clock


class Transaction:
    """The 14 repositories, in one transaction."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self.session = session
        self.clock = clock
        self.initiatives = work.InitiativeRepository(session, clock)
        self.phases = work.PhaseRepository(session, clock)
        self.tasks = work.TaskRepository(session, clock)
        self.agents = agents.AgentRepository(session, clock)
        self.messages = talk.MessageRepository(session, clock)
        self.pages = documents.PageRepository(session, clock)
        self.projects = work.ProjectRepository(session, clock)
        self.accounts = agents.AccountRepository(session, clock)
        self.proposals = documents.ProposalRepository(session, clock)
        self.log_chunks = agents.LogChunkRepository(session, clock)
        self.conversations = talk.ConversationRepository(session, clock)
        self.chat_sessions = talk.ChatSessionRepository(session, clock)
        self.review_comments = review.ReviewCommentRepository(session, clock)
        self.errands = errands.ErrandRepository(session, clock)


@dataclass(frozen=True)
class Ledger:
    """
    The ledger of a repository or a team.

    Attributes:
        where: The file, or the database's URL without a password.
        clock: Returns the present time, for the rows' timestamps.
    """

    engine: sa.Engine
    where: str
    clock: Clock = now

    @classmethod
    def on_sqlite(cls, path: Path, clock: Clock = now, *, looks: bool = False) -> Ledger:
        """
        Open the ledger in the file *path*, which is created or migrated if necessary.

        Args:
            looks: Only read it; nothing is created, migrated or written.

        Raises:
            LedgerError: If it cannot be opened or migrated.
        """
        with _translated(str(path)):
            engine = sqlite_reader(path) if looks else sqlite_engine(path)
        return cls._opened(engine, str(path), clock)

    @classmethod
    def on_postgres(
        cls, parameters: Mapping[str, str], where: str, clock: Clock = now, *, looks: bool = False
    ) -> Ledger:
        """
        Open the ledger in a PostgreSQL database, in its own schema `goldentree`.

        Args:
            parameters: The connection parameters of libpq.
            where: The database's URL without a password, for messages.
            looks: Only read it; nothing is created or migrated.

        Raises:
            LedgerError: If it cannot be opened or migrated; if *looks*, and it has not been created or migrated yet.
        """
        engine = postgres_engine(parameters)
        try:
            if looks:
                with _translated(where), reading(engine).connect() as connection:
                    if not is_current(connection):
                        raise LedgerError(
                            f"the ledger at `{where}` was not created yet, or by an earlier version",
                            hint="to create or migrate it:\ninv ledger.backup",
                        )
        except BaseException:
            engine.dispose()
            raise
        return cls._opened(engine, where, clock)

    @classmethod
    def _opened(cls, engine: sa.Engine, where: str, clock: Clock) -> Ledger:
        try:
            with _translated(where):
                ensure_schema(engine)
        except BaseException:
            engine.dispose()
            raise
        ledger = cls(engine, where, clock)
        weakref.finalize(ledger, _close, engine, os.getpid())
        return ledger

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """
        Begin a read-only transaction; on SQLite it never waits for writers.

        Raises:
            LedgerError: If the database refuses.
        """
        with _translated(self.where), _session(reading(self.engine)) as session:
            yield Transaction(session, self.clock)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """
        Begin a transaction that takes the write lock first; it commits at the end, and rolls back on an exception.

        Raises:
            ConflictError: If the schema refuses a row.
            LedgerError: If the database refuses, or other processes hold the lock for longer than BUSY_SECONDS.
        """
        with (
            _translated(self.where),
            _session(writing(self.engine)) as session,
            session.begin(),
        ):
            session.connection()  # connect now: the clock must be read after the lock is taken
            yield Transaction(session, self.clock)


def _close(engine: sa.Engine, owner: int) -> None:
    """Dispose of the engine when a Ledger is garbage-collected, except in a forked child, which does not own it."""
    if os.getpid() == owner:
        engine.dispose()


def _session(engine: sa.Engine) -> Session:
    # Make the session unusable after the transaction: later writes would be lost silently.
    return Session(engine, expire_on_commit=False, close_resets_only=False)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn errors of the database into errors that a user can act on."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise refused(error, "change") from None
    except (OverflowError, UnicodeEncodeError) as error:
        raise LedgerError("the ledger cannot store this value", why=str(error)) from None
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger at `{where}` cannot be read", why=str(error)) from None
    except sa.exc.DBAPIError as error:
        # For a statement only the first line, as PostgreSQL's others may quote values; connection errors need them all.
        said = str(error.orig).strip() if error.statement is None else str(error.orig).partition("\n")[0]
        if "database is locked" in said or "lock timeout" in said:
            why, hint = (
                f"other processes have been writing for {BUSY_SECONDS} seconds",
                "try again\ninv ledger.status",
            )
        elif "deadlock detected" in said:
            why, hint = "another process was changing the same rows; nothing was changed here", "try again"
        elif "malformed" in said or "not a database" in said:
            why, hint = (
                said,
                "stop the agents, move it and its -wal and -shm aside, and copy the latest backup there",
            )
        elif "disk is full" in said or "disk I/O error" in said:
            why, hint = said, "free space on its disk, then run the same command"
        elif "readonly database" in said:
            why, hint = said, "let this account write the file and its directory, then run the same command"
        else:
            why, hint = said, ""
        raise LedgerError(f"the ledger at `{where}` cannot be used", why=why, hint=hint) from None
