"""
Tidying: what takes long and nobody should wait for, done after a clone is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tasks_lib.databases.clone import snapshot, spares
from tasks_lib.databases.ownership import temporaries
from tasks_lib.databases.ownership.golden_template import describe_database, require_golden

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.databases.ownership.source import Source


@dataclass(frozen=True)
class CleanupResult:
    """What was dropped, by name, and how many spares are ready."""

    dropped: list[str]
    spares: int


def clean_up(source: Source, wanted: int, report: Callable[[str], object]) -> CleanupResult:
    """
    Drop what killed processes left and what a newer snapshot has outdated; keep *wanted* spares.

    Raises:
        DatabaseError: If something cannot be made or dropped.
    """
    with source.server.building() as connection:
        require_golden(connection, source.golden)
        dropped = temporaries.drop_abandoned(source, connection)
        # Companions have templates of their own, which change as golden does.
        for name in {mark.golden for mark in source.made(connection, "snapshot").values()}:
            if golden := describe_database(connection, name):
                of = replace(source, golden=name)
                newest = next(iter(snapshot.list_snapshots(of, connection, golden)), None)
                dropped += snapshot.drop_outdated(of, connection, newest)
    return CleanupResult(dropped, spares.maintain_spares(source, wanted, report))
