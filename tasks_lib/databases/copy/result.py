"""
Describe how a database was copied or created.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tasks_lib.databases.compare.fingerprint import UNKNOWN, Fingerprint


class CloneSummary(msgspec.Struct, frozen=True):
    """
    What a worktree's record says about its clone.

    Attributes:
        method: As in `CloneResult`.
        seconds: How long building and publishing took.
        bytes: Size on disk.
        created_at: When it was recorded, in ISO 8601.
    """

    method: str
    seconds: float
    bytes: int
    created_at: str = msgspec.field(name="created")


@dataclass(frozen=True)
class CloneResult:
    """
    How a database was made. The copy fills in the first three attributes, publishing the others.

    Attributes:
        method: `spare`, `snapshot`, `template`, `dump` or `empty`; `kept` if a complete one existed.
        reason: Why this method, in a few words.
        fingerprint: Golden's fingerprint at the instant that the copy shows, `UNKNOWN` if it was not read.
        warnings: Golden's settings that could not be copied.
        built_snapshot: Whether a snapshot was built for it, so that older ones can be dropped.
        database: The name under which it was published.
        seconds: How long building and publishing took.
        bytes: Size on disk.
        parked: The new name of the database that it replaced, empty if it replaced none.
    """

    method: str
    reason: str
    fingerprint: Fingerprint = UNKNOWN
    warnings: tuple[str, ...] = ()
    built_snapshot: bool = False
    database: str = ""
    seconds: float = 0
    bytes: int = 0
    parked: str = ""

    def summary(self, created_at: str) -> CloneSummary:
        """Return what the worktree's record keeps; *created_at* is the current time in ISO 8601."""
        return CloneSummary(self.method, self.seconds, self.bytes, created_at)
