"""
Repositories of agents, accounts and logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tasks_lib.errors import ConflictError
from tasks_lib.ledger.repositories.base import Repository
from tasks_lib.ledger.schema.agents import Account, Agent, LogChunk
from tasks_lib.ledger.store.dialect import is_postgres

if TYPE_CHECKING:
    from datetime import datetime


class AgentRepository(Repository[Agent]):
    """The agents."""

    row, noun = Agent, "agent"

    def named(self, name: str) -> Agent:
        """
        Return the agent with this name or id, or whose id begins with *name*.

        Raises:
            NotFoundError: If no agent matches.
            ConflictError: If several ids match.
        """
        return self.find_by_name(name) or super().named(name)

    def find_by_name(self, name: str) -> Agent | None:
        """Return the agent called *name*."""
        return self._first(self._select().where(Agent.name == name))

    def find_by_task_id(self, task_id: str) -> Agent | None:
        """Return the agent that held a task last."""
        mine = self._select().where(Agent.task_id == task_id)
        return self._first(mine.order_by(Agent.updated_at.desc(), Agent.id))


class AccountRepository(Repository[Account]):
    """The accounts, used in turn."""

    row, noun = Account, "account"

    def named(self, name: str) -> Account:
        """
        Return the account with this address or id, or whose id begins with *name*.

        Raises:
            NotFoundError: If no account matches.
            ConflictError: If several accounts match.
        """
        found = self.find_all(email=name)
        if len(found) > 1:
            ids = ", ".join(f"{account.id} ({account.provider})" for account in found)
            raise ConflictError(f"several accounts have the address `{name}`", why=ids, hint="use the id")
        return found[0] if found else super().named(name)

    def find_next_available(self, provider: str) -> Account | None:
        """
        Return the account of *provider* that was used longest ago, and mark it as used now.

        Concurrent callers get different accounts.

        Returns:
            None while all are exhausted; `earliest_reset` returns until when.
        """
        if is_postgres(self.session):
            # One caller at a time, as on SQLite: skipping locked rows would look like exhausted accounts.
            self.session.execute(sa.text("LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE"))
        moment = self.clock()
        stamped = (
            sa.update(Account)
            .where(Account.id == self._turn(provider, moment).correlate(None).scalar_subquery())
            .values(last_used_at=moment, updated_at=moment, is_exhausted=False, exhausted_until=None)
            .returning(Account)
            .execution_options(populate_existing=True, synchronize_session=False)
        )
        return self.session.scalars(stamped).first()

    def peek(self, provider: str) -> Account | None:
        """Return the account that `find_next_available` would return, without using it."""
        found = self.session.scalar(self._turn(provider, self.clock()))
        return self.find_by_id(found) if found else None

    def earliest_reset(self, provider: str) -> datetime | None:
        """Return when the first exhausted account of *provider* becomes available again, None if unknown."""
        mine = sa.select(sa.func.min(Account.exhausted_until, type_=Account.exhausted_until.type))
        return self.session.scalar(mine.where(Account.provider == provider, Account.is_exhausted))

    def mark_exhausted(self, id: str, until: datetime | None) -> Account:
        """
        Mark an account as exhausted until then, or with None until it is cleared; never shortens a recorded limit.

        Raises:
            NotFoundError: If the account does not exist.
        """
        account = self.hold(id)
        if account.is_exhausted:
            known = account.exhausted_until
            until = max(known, until) if known and until else None
        return self.update(id, is_exhausted=True, exhausted_until=until)

    def clear_expired_exhaustion(self, now: datetime) -> int:
        """Clear the accounts whose limit ended before *now*, and return how many; those without an end stay."""
        ended = sa.update(Account).where(Account.is_exhausted, Account.exhausted_until <= now)
        result: Any = self.session.execute(ended.values(is_exhausted=False, exhausted_until=None, updated_at=now))
        return int(result.rowcount)

    def _turn(self, provider: str, moment: datetime) -> sa.Select[str]:
        free = sa.or_(sa.not_(Account.is_exhausted), Account.exhausted_until <= moment)
        order = Account.last_used_at.asc().nulls_first(), Account.sort_order, Account.id
        return sa.select(Account.id).where(Account.provider == provider, free).order_by(*order).limit(1)


class LogChunkRepository(Repository[LogChunk]):
    """The agents' logs: append-only, and kept when their agent is deleted."""

    row, noun, listing = LogChunk, "log chunk", ""

    def insert_chunk(self, agent_id: str, agent_name: str, session_number: int, content: str) -> LogChunk:
        """Append a chunk to a session's log."""
        return self.create(agent_id=agent_id, agent_name=agent_name, session_number=session_number, content=content)

    def get_session_count(self, agent_id: str) -> int:
        """Return the number of an agent's last session, which may exceed the number of stored sessions."""
        last = sa.select(sa.func.coalesce(sa.func.max(LogChunk.session_number), 0))
        return self.session.scalar(last.where(LogChunk.agent_id == agent_id)) or 0

    def update(self, id: str, **values: Any) -> LogChunk:
        """
        Refuse, because logs are append-only.

        Raises:
            ConflictError: Always.
        """
        raise ConflictError("log chunks are append-only")
