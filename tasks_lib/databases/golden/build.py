"""
A golden template from nothing: filled under a temporary name, and called by its own once it is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tasks_lib.databases.clone import clone
from tasks_lib.databases.clone.empty import create_empty_database
from tasks_lib.databases.clone.publish import publish_as_golden
from tasks_lib.databases.ownership.advisory_lock import advisory_lock
from tasks_lib.databases.ownership.comment import await_no_sessions, exists, set_comment
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.url import DatabaseUrl

T = TypeVar("T")


def build_golden(source: Source, fill: Callable[[DatabaseUrl], T], *, now: str, report: Callable[[str], object]) -> T:
    """
    Make the golden template of *source*, in UTF-8 and with the server's own locale; return what *fill* returns.

    Args:
        fill: Is given the URL of the new, empty database.
        now: The time, in ISO 8601.
        report: Is told what is swept.

    Raises:
        DatabaseError: If there is a database of that name by then, or *fill* has left a session; nothing is left behind
            then, or if *fill* fails.
    """
    from psycopg import errors

    clone.drop_abandoned_temporaries(source, report)
    with source.server.building() as connection:
        # Whoever builds it as well waits, so that what is made outside, at Twilio, is made once.
        advisory_lock(connection, source.golden)
        if exists(connection, source.golden):
            raise _taken(source.golden)
        with temporary_database(source, connection) as name:
            create_empty_database(connection, name)
            set_comment(connection, name, source.mark("temporary", created=now))
            filled = fill(source.server.url.with_database(name))
            await_no_sessions(connection, name)
            try:
                with connection.transaction():
                    publish_as_golden(connection, name, source.golden)
            except (errors.DuplicateDatabase, errors.UniqueViolation):
                raise _taken(source.golden) from None
            except errors.ObjectInUse as error:
                raise DatabaseError(
                    f"`{source.golden}` was built, but somebody is still connected to it",
                    why=f"{error.diag.message_detail}\nwhat migrated it may have left something running",
                    hint="have the migrate command end all that it starts, then run the same command",
                ) from None
    return filled


def _taken(golden: str) -> DatabaseError:
    return DatabaseError(
        f"a database `{golden}` has been made meanwhile",
        why="somebody else built it, or restored it",
        hint="run the same command again: it makes what is missing there",
    )
