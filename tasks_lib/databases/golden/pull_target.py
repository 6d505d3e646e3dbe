"""
Create the empty database for pulled data, with the encoding and locale of the original, and closed to other roles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.copy.dump import empty_database_options
from tasks_lib.databases.ownership.comment import set_comment
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import allow_connections

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import OwnershipComment
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.signer import Signer


def create_pull_target(
    here: Connection[Any], signer: Signer, described: Golden, name: str, comment: OwnershipComment
) -> list[str]:
    """
    Create the empty database *name* for the data of *described*; only its owner can connect.

    Returns:
        Remarks on differences from the original.
    """
    from psycopg import sql

    database = sql.Identifier(name)
    obstacle = _create_closed(here, described, name)
    here.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))
    set_comment(here, signer, name, comment)
    allow_connections(here, name, True)
    if not obstacle:
        return []
    collate = scalar(here, "SELECT datcollate FROM pg_database WHERE datname = %s", [name])
    return [f"text sorts by the locale `{collate}`, because the original's is not available: {obstacle}"]


def _create_closed(here: Connection[Any], described: Golden, name: str) -> str:
    """Create the empty database *name*, closed to all; return why it has not the original's locale, empty if it has."""
    from psycopg import errors, sql

    # Our role owns the database and everything in it.
    theirs, version = replace(described, ours=False, tablespace=None), here.info.server_version
    plain = replace(theirs, collate="C", ctype="C", provider="c", locale=None, icu_rules=None)
    attempts = [
        empty_database_options(theirs, version),
        sql.SQL("TEMPLATE template0 ENCODING {}").format(sql.Literal(described.encoding)),
        empty_database_options(plain, version),  # suits every encoding
    ]
    unknown_locale = (
        errors.WrongObjectType,
        errors.InvalidParameterValue,
        errors.InvalidObjectDefinition,
        errors.FeatureNotSupported,
    )
    obstacle = ""
    for options in attempts:
        try:
            # Closed until CONNECT is revoked, because revoking it does not end sessions.
            here.execute(sql.SQL("CREATE DATABASE {} ALLOW_CONNECTIONS false {}").format(sql.Identifier(name), options))
            break
        except unknown_locale as error:
            if options is attempts[-1]:
                raise
            obstacle = obstacle or str(error.diag.message_primary)
    return obstacle
