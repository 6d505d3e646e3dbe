"""
What clones are made from: a golden template on a server, as one repository uses it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.comment import TOOL, OwnershipComment, drop, list_commented

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import Role
    from tasks_lib.databases.server.connection import Server


@dataclass(frozen=True)
class Source:
    """
    The golden template *golden* on *server*.

    Attributes:
        repository: Id of the repository that the databases made from it belong to.
        folder: Where that repository keeps what must outlive a killed process; made when first needed.
    """

    server: Server
    golden: str
    repository: str
    folder: Path

    def prefix(self, role: Role, oid: int) -> str:
        """Return how the names of this repository's databases of that *role* begin, made from the golden *oid*."""
        whose = hashlib.sha256(f"{self.repository} {oid}".encode()).hexdigest()[:8]
        return f"{TOOL}_{role}_{whose}_"

    def made(
        self, connection: Connection[Any], role: Role, oid: int | None = None, *, usable: bool = False
    ) -> dict[str, OwnershipComment]:
        """
        Return this repository's databases of that *role* by name.

        Args:
            oid: Only those made from that golden.
            usable: Leave out what an interrupted DROP DATABASE has left.
        """
        prefix = f"{TOOL}_{role}_" if oid is None else self.prefix(role, oid)
        marks = list_commented(connection, prefix, usable=usable)
        return {name: mark for name, mark in marks.items() if (mark.repository, mark.role) == (self.repository, role)}

    def drop(self, connection: Connection[Any], name: str, role: Role) -> bool:
        """
        Drop *name*, which belongs to no single worktree; return whether it was there.

        Raises:
            OwnershipError: If it is not provably this repository's, in that *role*.
        """
        return drop(connection, name, repository=self.repository, slug="", role=role, golden=self.golden)

    def mark(self, role: Role, *, created: str, slug: str = "", fingerprint: str = "") -> OwnershipComment:
        """Return the mark of a database made from it."""
        return OwnershipComment(self.repository, slug, role, self.golden, created, fingerprint)
