"""
What makes rounds equal: the same sessions and the same databases before each way, whatever the one before did.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from psycopg import Connection

    from bench.sessions import Sessions
    from bench.timing import Way


class Guard:
    """Gives every way all its *sessions* before, and drops what it made after; counts those that it *ended*."""

    def __init__(self, connection: Connection[Any], sessions: Sessions) -> None:
        self.ended: Counter[str] = Counter()
        self._connection = connection
        self._sessions = sessions
        self._before: set[str] = set()

    def around(self, ways: dict[str, Way]) -> dict[str, Way]:
        """Return *ways*, guarded."""
        return {name: self._guarded(name, way) for name, way in ways.items()}

    def _guarded(self, name: str, way: Way) -> Way:
        def prepare() -> None:
            self._before = self._databases()  # also where what follows fails
            way.prepare()
            self._before = self._databases()
            # What others left to be written is not to be written during this one.
            os.sync()

        def clean() -> None:
            self.ended[name] = max(self.ended[name], self._sessions.restore())
            for made in self._databases() - self._before:
                self._connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made)))

        return replace(way, prepare=prepare, clean=clean)

    def _databases(self) -> set[str]:
        """Return all databases but frozen ones: a snapshot serves the rounds to come."""
        return {name for (name,) in self._connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate")}
