"""
Build a golden template from nothing, under a temporary name until it is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tasks_lib.databases.clone import clone
from tasks_lib.databases.clone.empty import create_empty_database
from tasks_lib.databases.clone.publish import publish_as_golden
from tasks_lib.databases.ownership.advisory_lock import advisory_lock
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.ddl import database_exists
from tasks_lib.databases.server.sessions import await_no_sessions
from tasks_lib.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks_lib.databases.ownership.source import Source
    from tasks_lib.databases.server.url import DatabaseUrl

T = TypeVar("T")


def build_golden(source: Source, fill: Callable[[DatabaseUrl], T], *, now: str, report: Callable[[str], object]) -> T:
    """
    Create the golden template of *source*, with UTF-8 and the server's default locale; return what *fill* returns.

    Args:
        fill: Called with the URL of the new, empty database.
        now: The current time, in ISO 8601.
        report: Called with a line of text for each unfinished database that is dropped.

    Raises:
        DatabaseError: If a database of that name has been created in the meantime, or *fill* has left a session open.
            Nothing is left behind, neither here nor if *fill* fails.
    """
    from psycopg import errors

    clone.drop_abandoned_temporaries(source, report)
    with source.server.connect_for_ddl() as connection:
        # Concurrent builds wait, also those of other repositories, so that *fill* creates things outside of the
        # database, such as at Twilio, only once.
        advisory_lock(connection, None, source.golden, purpose=f"to build `{source.golden}`")
        if database_exists(connection, source.golden):
            raise _name_taken(source.golden)
        with temporary_database(source, connection) as name:
            create_empty_database(connection, name)
            set_comment(connection, source.signer, name, source.new_comment("temporary"))
            filled = fill(source.server.url.with_database(name))
            await_no_sessions(connection, name)
            try:
                with connection.transaction():
                    publish_as_golden(connection, name, source.golden)
            except (errors.DuplicateDatabase, errors.UniqueViolation):
                raise _name_taken(source.golden) from None
            except errors.ObjectInUse as error:
                raise DatabaseError(
                    f"`{source.golden}` was built, but a session is still connected to it",
                    why=f"{error.diag.message_detail}\nthe migrate command may have left a process running",
                    hint="make the migrate command end every process that it starts, then run the same command",
                ) from None
    return filled


def _name_taken(golden: str) -> DatabaseError:
    return DatabaseError(
        f"a database `{golden}` has been created in the meantime",
        why="another process built or restored it; the same command then makes only what is missing there",
        hint="run the same command again",
    )
