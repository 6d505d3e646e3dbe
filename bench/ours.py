"""
What goldentree does to copy a database, called from a process that is already running.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.timing import Way
from tasks_lib.databases.clone import clone, snapshot, spares
from tasks_lib.databases.clone.strategy import DEFAULT_OPTIONS, CloneOptions
from tasks_lib.databases.compare import fingerprint
from tasks_lib.databases.copy import template
from tasks_lib.databases.ownership.golden_template import require_golden
from tasks_lib.databases.ownership.source import Source
from tasks_lib.databases.server.connection import require_psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.servers import Target

CURRENT = "goldentree: snapshot current"
STALE = "goldentree: snapshot stale, refreshed"
AT_ONCE = 8
"""Clones that are made in parallel, each by a process of its own."""

_IS_CURRENT = ("snapshot", "is current")

_numbers = itertools.count(1)


class Ours:
    """goldentree with *golden* of *target*; its records are below *scratch*."""

    def __init__(self, target: Target, golden: str, scratch: Path) -> None:
        self._source = Source(target.server, golden, "bench", scratch / f"notes{next(_numbers)}")

    def ways(self, sessions: int) -> dict[str, Way]:
        """Return the ways to clone golden while that many *sessions* are connected to it."""
        found = {
            CURRENT: Way(lambda: make(self._source, *_IS_CURRENT), prepare=self._take_snapshot),
            f"{CURRENT}, all of golden read": Way(lambda: make(self._source, *_IS_CURRENT), prepare=self._forget),
            "goldentree: spare": Way(lambda: make(self._source, "spare"), prepare=self._keep_spare),
        }
        if sessions:
            found[STALE] = Way(lambda: make(self._source, "snapshot", "just now"), prepare=self._change_golden)
            found["goldentree: method dump"] = Way(lambda: make(self._source, "dump", wish=CloneOptions("dump")))
        else:
            found["goldentree: no snapshot, golden idle"] = Way(
                lambda: make(self._source, "template"), prepare=self._drop_snapshots
            )
        return found

    def parts(self) -> dict[str, Way]:
        """Return the two halves of a clone of a current snapshot, each with a connection of its own."""
        server = self._source.server
        with server.connect() as connection:
            golden = require_golden(connection, self._source.golden)
        return {
            "fingerprint, all of golden read": Way(lambda: fingerprint.read_from(server, golden.name, golden.oid)),
            "copy of the snapshot": Way(lambda: copy(self._source), prepare=self._take_snapshot),
        }

    @contextmanager
    def parallel(self) -> Iterator[dict[str, Way]]:
        """Give one clone, and many at once in processes that are already running."""
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(AT_ONCE, mp_context=spawn, initializer=require_psycopg) as pool:
            list(pool.map(time.sleep, [1.0] * AT_ONCE))  # none is idle before all have started

            def clones(count: int) -> None:
                list(pool.map(make, *zip(*[(self._source, *_IS_CURRENT)] * count, strict=True)))

            def copies(count: int) -> None:
                list(pool.map(copy, [self._source] * count))

            yield {
                "1 clone": Way(lambda: clones(1), prepare=self._take_snapshot),
                f"{AT_ONCE} clones at once": Way(lambda: clones(AT_ONCE), prepare=self._take_snapshot),
                # What the server itself needs for that: nothing but CREATE DATABASE.
                f"{AT_ONCE} copies of the snapshot at once": Way(lambda: copies(AT_ONCE), prepare=self._take_snapshot),
            }

    def _take_snapshot(self) -> None:
        """Make the snapshot current; then write to another database of the server, as usually happens."""
        snapshot.ensure_snapshot(self._source, _say_nothing, fresh=False, evict_idle=False)
        self._write_elsewhere()

    def _keep_spare(self) -> None:
        """Have one spare ready; then write to another database."""
        spares.maintain_spares(self._source, 1, _say_nothing)
        self._write_elsewhere()

    def _write_elsewhere(self) -> None:
        with self._source.server.connect() as connection:
            connection.execute("SELECT pg_current_xact_id()")

    def _forget(self) -> None:
        """Make the snapshot current, and lose the notes that would spare us reading golden."""
        self._take_snapshot()
        for note in self._source.folder.glob("*.json"):
            note.unlink()

    def _change_golden(self) -> None:
        """Make the snapshot current, then change golden."""
        self._take_snapshot()
        with self._source.server.connect(self._source.golden) as connection:
            connection.execute("UPDATE public.contact SET last_name = last_name || 'x' WHERE email = 'zoe@example.com'")

    def _drop_snapshots(self) -> None:
        with self._source.server.connect() as connection:
            snapshot.drop_outdated(self._source, connection, None)


def copy(source: Source) -> None:
    """Copy the newest snapshot, and do nothing else."""
    with source.server.connect() as connection:
        golden = require_golden(connection, source.golden)
        newest = snapshot.list_snapshots(source, connection, golden)[0]
        name = f"part_{multiprocessing.current_process().pid}_{next(_numbers)}"
        template.copy(connection, golden, name, snapshot=newest.name)


def make(source: Source, method: str, reason: str = "", wish: CloneOptions = DEFAULT_OPTIONS) -> None:
    """
    Clone golden, all included: connect, check, copy, publish.

    Raises:
        RuntimeError: If it was not made by that *method*, or for another *reason*: then something else was measured.
    """
    name = f"clone_{multiprocessing.current_process().pid}_{next(_numbers)}"
    mark = source.new_comment("clone", slug=name, created_at="2026-01-01T00:00:00+00:00")
    made = clone.build(source, name, mark, wish)
    if made.method != method or reason not in made.reason:
        raise RuntimeError(f"was made by {made.method}: {made.reason}")


def _say_nothing(text: str) -> None:
    """Keep quiet about what takes long."""
