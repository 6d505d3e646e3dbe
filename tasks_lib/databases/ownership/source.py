"""
Name, list and drop the databases that one repository makes from a golden template.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.ownership.comment import Owner, OwnershipComment
from tasks_lib.databases.ownership.drop import drop_owned
from tasks_lib.databases.ownership.proof import Proven, list_commented
from tasks_lib.databases.server.connection import TOOL

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import Role
    from tasks_lib.databases.ownership.signer import Signer
    from tasks_lib.databases.server.connection import Server


@dataclass(frozen=True)
class Source:
    """
    The golden template *golden* on *server*, as one repository uses it.

    Attributes:
        signer: The repository that owns the databases made from it.
        folder: Where the repository keeps the names of databases under construction, and golden's fingerprint; created
            on first use.
        looks: Whether the command only looks, and nothing may be written.
    """

    server: Server
    golden: str
    signer: Signer
    folder: Path
    looks: bool = False

    @property
    def repository(self) -> str:
        """The id of the repository."""
        return self.signer.repository

    def owner(self, slug: str = "") -> Owner:
        """Return the owner of a database: the worktree *slug*, or the repository as a whole."""
        return Owner(self.signer, slug)

    def prefix(self, role: Role, oid: int) -> str:
        """Return how the names of this repository's databases of that *role* begin, made from the golden *oid*."""
        digest = hashlib.sha256(f"{self.repository} {oid}".encode()).hexdigest()[:8]
        return f"{TOOL}_{role}_{digest}_"

    def list_copies(
        self, connection: Connection[Any], role: Role, oid: int | None = None, *, usable: bool = False
    ) -> list[Proven]:
        """
        Return the databases of that *role* that are provably this repository's, by name.

        Args:
            oid: Only databases made from that golden.
            usable: Leave out databases that an interrupted DROP DATABASE has left behind.
        """
        prefix = f"{TOOL}_{role}_" if oid is None else self.prefix(role, oid)
        found = list_commented(connection, self.signer, prefix, usable=usable)
        copies = [copy for copy in found if isinstance(copy, Proven) and copy.comment.role == role]
        # The owner of another golden template may have renamed a copy of that one.
        return [copy for copy in copies if oid is None or copy.comment.golden == self.golden]

    def drop(self, connection: Connection[Any], name: str, role: Role) -> bool:
        """
        Drop *name*, which belongs to the repository as a whole; return whether it existed.

        Raises:
            OwnershipError: If it does not provably belong to this repository in that *role*.
        """
        return drop_owned(connection, name, self.owner(), role, golden=self.golden)

    def new_comment(
        self, role: Role, *, created_at: str = "", slug: str = "", fingerprint: str = ""
    ) -> OwnershipComment:
        """
        Return the ownership comment for a database that is about to be made from golden.

        Args:
            created_at: By the server's clock; empty for the moment at which the comment is written.
        """
        return OwnershipComment(self.repository, slug, role, self.golden, created_at, fingerprint)
