"""
Spares: ready clones of the current snapshot, waiting for a name.

A spare carries golden's fingerprint and settings of the moment it was made; it is handed out only
while golden still has that fingerprint, by one transaction that gives it its mark and its name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.publish import label

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership import Mark


def claim(connection: Connection[Any], ready: dict[str, Mark], fingerprint: str, database: str, mark: Mark) -> bool:
    """
    Turn a spare among *ready* that has the *fingerprint* into the clone *database*; return whether there was one.

    Raises:
        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation: If somebody else took the name *database*.
    """
    from psycopg import errors, sql  # noqa: PLC0415 - only where a database is claimed

    for name, spare in ready.items():
        if not fingerprint or spare.fingerprint != fingerprint:
            continue
        try:
            with connection.transaction():
                label(connection, name, replace(mark, fingerprint=fingerprint))
                connection.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(database))
                )
        except (errors.InvalidCatalogName, errors.ObjectInUse, errors.InternalError_):
            continue  # another process took it just now
        return True
    return False
