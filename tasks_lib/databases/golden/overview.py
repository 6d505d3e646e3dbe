"""
Report one repository's databases and the fingerprints of its golden templates, over one connection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.compare import freshness
from tasks_lib.databases.compare.fingerprint import Fingerprint
from tasks_lib.databases.ownership.golden_template import require_open
from tasks_lib.databases.ownership.managed import list_claimed
from tasks_lib.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Collection

    from psycopg import Connection

    from tasks_lib.databases.ownership.managed import ManagedDatabase
    from tasks_lib.databases.ownership.proof import Unproven
    from tasks_lib.databases.ownership.source import Source


@dataclass(frozen=True)
class Overview:
    """
    One repository's databases on the server.

    Attributes:
        databases: Those that it owns.
        unproven: Those that only claim to be its own, by name.
        goldens: The current fingerprint of each golden template, or why it could not be read.
    """

    databases: list[ManagedDatabase]
    unproven: dict[str, Unproven]
    goldens: dict[str, Fingerprint]


def report_overview(source: Source, goldens: Collection[str]) -> Overview:
    """
    Report the databases of *source*'s repository, and the fingerprints of the golden templates named *goldens*.

    Raises:
        ServerError: If the server cannot be reached.
    """
    with source.server.connect() as connection:
        managed, claimed = list_claimed(connection, source.signer)
        return Overview(
            managed,
            {claim.found.name: claim.found for claim in claimed},
            {name: _read_fingerprint(connection, replace(source, golden=name)) for name in goldens},
        )


def _read_fingerprint(connection: Connection[Any], source: Source) -> Fingerprint:
    try:
        golden = require_open(connection, source.golden)
        asked = freshness.read_baseline(connection, golden.oid)
        return freshness.read_current_fingerprint(source, golden, asked).found
    except DatabaseError as error:
        return Fingerprint("", obstacle=error.what)
