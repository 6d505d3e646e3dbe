"""
The ledger itself: transactions that read, and transactions that write.
"""

from __future__ import annotations

import os
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
from tasks_lib.ledger.store.migrate import ensure_schema

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
    The ledger of a repository, or of a team.

    Attributes:
        where: What it is on, for people; no password.
    """

    engine: sa.Engine
    where: str
    clock: Clock = now

    @classmethod
    def on_sqlite(cls, path: Path, clock: Clock = now) -> Ledger:
        """
        Open the ledger in the file *path*; made, or brought to this version's schema, where needed.

        Raises:
            LedgerError: If it cannot be opened or migrated.
        """
        return cls._opened(sqlite_engine(path), str(path), clock)

    @classmethod
    def on_postgres(cls, parameters: Mapping[str, str], where: str, clock: Clock = now) -> Ledger:
        """
        Open the ledger in a database of PostgreSQL, in a schema of its own.

        Args:
            parameters: What libpq connects with.
            where: The same for people, without a password.

        Raises:
            LedgerError: If it cannot be opened or migrated.
        """
        return cls._opened(postgres_engine(parameters), where, clock)

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
        Begin a transaction that cannot write, and on SQLite waits for no writer.

        Raises:
            LedgerError: If the database refuses.
        """
        with _translated(self.where), _session(reading(self.engine)) as session:
            yield Transaction(session, self.clock)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """
        Begin a transaction that takes the lock first; commits at the end, unless an exception leaves it.

        Raises:
            ConflictError: If the schema refuses a row.
            LedgerError: If the database refuses, or others write for longer than BUSY_SECONDS.
        """
        with (
            _translated(self.where),
            _session(writing(self.engine)) as session,
            session.begin(),
        ):
            session.connection()  # now, not with the first statement: the clock is read after the lock is taken
            yield Transaction(session, self.clock)


def _close(engine: sa.Engine, owner: int) -> None:
    """Close the connections of a ledger that nobody has any more; not in a forked child, whose they are not."""
    if os.getpid() == owner:
        engine.dispose()


def _session(engine: sa.Engine) -> Session:
    # Closed for good: what is written after the transaction would be lost without a word.
    return Session(engine, expire_on_commit=False, close_resets_only=False)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn what the database says into errors that a user can act on."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise refused(error, "change") from None
    except (OverflowError, UnicodeEncodeError) as error:
        raise LedgerError("the ledger cannot keep such a value", why=str(error)) from None
    except sa.exc.DBAPIError as error:
        # Of a statement the first line, as PostgreSQL's others may quote values; why there is no connection takes more.
        said = str(error.orig).strip() if error.statement is None else str(error.orig).partition("\n")[0]
        if "database is locked" in said or "lock timeout" in said:
            why, hint = f"others have been writing for {BUSY_SECONDS} seconds", "try again; `inv ledger.status` tells"
        elif "deadlock detected" in said:
            why, hint = "somebody else was changing the same rows; nothing was changed here", "try again"
        elif "malformed" in said or "not a database" in said:
            why, hint = said, "stop the agents, move it and its -wal and -shm away, and copy the latest backup there"
        else:
            why, hint = said, ""
        raise LedgerError(f"the ledger at `{where}` cannot be used", why=why, hint=hint) from None
