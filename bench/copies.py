"""
Copy one golden template in every way, with three sessions connected to it and with none.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from bench import rivals
from bench.guard import Guard
from bench.ours import Ours
from bench.sessions import SESSIONS, connected
from bench.timing import in_turn
from tasks_lib.databases.server.connection import scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from psycopg import Connection

    from bench.rivals import Tool
    from bench.servers import Target
    from bench.timing import Times

_PARALLEL_MEGABYTES = 300
"""More than that is not cloned many times at once: it would be the disk that is measured."""


@dataclass(frozen=True)
class Copy:
    """
    A way to copy golden, measured.

    Attributes:
        place: PostgreSQL's release and the file system.
        megabytes: Golden's size.
        sessions: How many were connected to golden.
        seed: The times of the shell pipeline in the same rounds; *floor*, those of `createdb -T`.
        ended: How many sessions on golden did not survive it.
    """

    place: str
    megabytes: int
    sessions: int
    way: str
    times: Times
    seed: Times
    floor: Times
    ended: int


@dataclass(frozen=True)
class Part:
    """
    Something that belongs to a copy, measured alone.

    Attributes:
        base: What it is compared with, where there is such a thing.
    """

    place: str
    megabytes: int
    what: str
    times: Times
    base: Times | None = None


def measure_copies(
    target: Target, golden: str, tools: Sequence[Tool], scratch: Path, sessions: int, rounds: int
) -> Iterator[Copy]:
    """
    Copy *golden* in every way, in turn, with that many *sessions* connected to it.

    Args:
        tools: What `rivals.install` returned.
        scratch: For files.
        rounds: How often each way is timed.
    """
    with (
        target.server.connect() as connection,
        _idle(connection, golden, sessions) as idle,
        connected(target, golden, sessions) as held,
    ):
        guard = Guard(connection, held)
        ways = rivals.ways(target, golden, idle, tools, scratch) | Ours(target, golden, scratch).ways(sessions)
        times = in_turn(guard.around(ways), rounds)
        megabytes, seed, floor = _megabytes(connection, golden), times[rivals.SEED], times[rivals.FLOOR]
    for way, taken in times.items():
        yield Copy(target.name, megabytes, sessions, way, taken, seed, floor, guard.ended[way])


def measure_parts(target: Target, golden: str, scratch: Path, rounds: int) -> Iterator[Part]:
    """Measure what our clone of a *golden* in use is made of, and how many clones get on beside each other."""
    ours = Ours(target, golden, scratch)
    with target.server.connect() as connection, connected(target, golden, SESSIONS) as held:
        guard, megabytes = Guard(connection, held), _megabytes(connection, golden)
        for name, taken in in_turn(guard.around(ours.parts()), rounds).items():
            yield Part(target.name, megabytes, name, taken)
        if megabytes > _PARALLEL_MEGABYTES:
            return
        with ours.parallel() as ways:
            times = in_turn(guard.around(ways), rounds)
        one = next(iter(times.values()))
        for name, taken in times.items():
            yield Part(target.name, megabytes, name, taken, one)


def _megabytes(connection: Connection[Any], database: str) -> int:
    return int(scalar(connection, "SELECT round(pg_database_size(%s) / 1024 ^ 2)", [database]))


@contextmanager
def _idle(connection: Connection[Any], golden: str, sessions: int) -> Iterator[str]:
    """Give a golden template without sessions: a twin of it while *sessions* are connected, else itself."""
    if not sessions:
        yield golden
        return
    twin = f"{golden}_idle"
    names = {"twin": sql.Identifier(twin), "golden": sql.Identifier(golden)}
    connection.execute(sql.SQL("CREATE DATABASE {twin} TEMPLATE {golden} STRATEGY FILE_COPY").format(**names))
    try:
        yield twin
    finally:
        connection.execute(sql.SQL("DROP DATABASE {twin}").format(**names))
