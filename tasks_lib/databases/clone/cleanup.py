"""
Drop outdated copies of golden and refill the spares after a clone was made.

Both take long, so they run in a background process.
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
    """The names of the dropped databases, and the number of spares that are ready."""

    dropped: list[str]
    spares: int


def clean_up(source: Source, wanted: int, report: Callable[[str], object]) -> CleanupResult:
    """
    Drop unfinished databases of killed processes and outdated snapshots, and keep *wanted* spares ready.

    Raises:
        DatabaseError: If a database cannot be created or dropped.
    """
    with source.server.connect_for_ddl() as connection:
        require_golden(connection, source.golden)
        dropped = temporaries.drop_abandoned(source, connection)
        # Companions have their own templates, with snapshots of their own.
        templates = {taken.comment.golden for taken in source.list_copies(connection, "snapshot")}
        for name in templates:
            if golden := describe_database(connection, name):
                template = replace(source, golden=name)
                newest = next(iter(snapshot.list_snapshots(template, connection, golden)), None)
                dropped += snapshot.drop_outdated(template, connection, newest)
    return CleanupResult(dropped, spares.maintain_spares(source, wanted, report))
