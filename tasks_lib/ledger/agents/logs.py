"""
Store the output of agents as it arrives, and read it while it grows.
"""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tasks_lib.ledger import wakeup
from tasks_lib.ledger.schema.agents import LogChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks_lib.ledger.ledger import Ledger
    from tasks_lib.ledger.schema.agents import Agent

CHUNK_BYTES = 65_536
"""The maximum size of a chunk: the capacity of a pipe on Linux."""

PAGE = 100
"""How many chunks are read at once."""

FOLLOW_SECONDS = 1.0
"""The polling interval of a follower on PostgreSQL. Announcing chunks would wake all waiting agents."""


def append(ledger: Ledger, agent: Agent, session: int, source: int) -> Iterator[LogChunk]:
    """
    Store the output read from the file descriptor *source* as it arrives, and yield the chunks.

    Bytes that are not UTF-8, and NUL, which PostgreSQL refuses, become U+FFFD.

    Raises:
        LedgerError: If a chunk cannot be written; the chunks yielded before are stored.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    data = None
    while data != b"":
        data = os.read(source, CHUNK_BYTES)
        if content := decoder.decode(data, final=not data).replace("\0", "\ufffd"):
            with ledger.write() as tx:
                chunk = tx.log_chunks.insert_chunk(agent.id, agent.name, session, content)
            yield chunk


def read(ledger: Ledger, agent_id: str, session: int | None = None, *, follow: bool = False) -> Iterator[LogChunk]:
    """
    Yield an agent's chunks in the order they were printed, outside of a transaction so that slow readers block no one.

    Args:
        session: Only this session.
        follow: Keep waiting for more chunks, without end.

    Raises:
        LedgerError: If the ledger cannot be read.
    """
    order = LogChunk.session_number, LogChunk.created_at, LogChunk.id
    chunks = sa.select(LogChunk).where(LogChunk.agent_id == agent_id).order_by(*order).limit(PAGE)
    if session is not None:
        chunks = chunks.where(LogChunk.session_number == session)
    last: LogChunk | None = None
    with wakeup.changes(ledger.engine) as changed:
        while True:
            page = chunks
            if last is not None:
                page = chunks.where(sa.tuple_(*order) > (last.session_number, last.created_at, last.id))
            with ledger.read() as tx:
                found = list(tx.session.scalars(page))
            yield from found
            if found:
                last = found[-1]
            elif follow:
                changed(FOLLOW_SECONDS)
            else:
                return
