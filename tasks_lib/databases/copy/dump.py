"""
Copy golden with `pg_dump | psql`, which works while other sessions use it.

`transfer` runs the programs and compares the copy with golden.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.compare import fingerprint
from tasks_lib.databases.copy import restorer, transfer
from tasks_lib.databases.copy.transfer import Dump
from tasks_lib.errors import CloneError
from tasks_lib.output import format_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.compare.fingerprint import Fingerprint
    from tasks_lib.databases.copy.restorer import Restorer
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.server.connection import Server


def copy(
    server: Server,
    connection: Connection[Any],
    golden: Golden,
    create: Callable[[Golden], None],
    temporary: str,
    report: Callable[[str], object],
) -> Fingerprint:
    """
    Dump *golden* into the database *temporary*, which *create* creates from template0 with the properties it gets.

    Returns golden's fingerprint in the dumped snapshot.

    Raises:
        CloneError: If either program fails, or the copy differs from golden.
        DatabaseError: If golden cannot be read.
    """
    with server.connect(golden.name) as source, ExitStack() as stack:
        snapshot = transfer.export_snapshot(source)
        owners = restorer.read_owners(source)
        options = () if owners.transferable else ("--no-owner", "--no-privileges")

        def create_for_restore() -> Restorer | None:
            # The owner may not create objects before the extensions exist, because their scripts run with our rights.
            create(replace(golden, ours=False) if owners.sole else golden)
            chosen, why = None, owners.why_not
            if owners.sole:
                login = restorer.temporary_login(server, connection, owners, temporary, golden.owner)
                chosen = stack.enter_context(login)
                why = "the server does not let a temporary role log in, see pg_hba.conf"
            if owners.strangers and chosen is None:
                report(restorer.format_warning(golden.name, connection.info.user, why))
            return chosen

        version = source.info.server_version
        dump = Dump(
            server, golden.name, snapshot, options, transfer.read_extensions(source), server, version, temporary
        )
        with transfer.dump_and_restore(dump, source, create_for_restore) as sent:
            found = fingerprint.read(source, golden.oid)
        if owners.sole:
            restorer.set_owner(connection, temporary, golden.owner)
    if different := transfer.find_differences(dump, sent):
        raise CloneError(
            f"the clone differs from `{golden.name}`",
            why=format_first([str(difference) for difference in different], 10),
            hint="WORKTREE_CLONE_METHOD=template copies everything, if no session is connected to golden",
        )
    # A random digest that never matches: a sequence moved during the dump, so the copy's state is unknown.
    return replace(found, digest=secrets.token_hex(32)) if sent.moving and found.digest else found


def empty_database_options(golden: Golden, server_version: int) -> Any:
    """Return the options of CREATE DATABASE for an empty database with the encoding and locale of *golden*."""
    from psycopg import sql

    options: list[tuple[str, str]] = [
        ("ENCODING", golden.encoding),
        ("LC_COLLATE", golden.collate),
        ("LC_CTYPE", golden.ctype),
    ]
    if server_version >= 150_000:
        options.append(("LOCALE_PROVIDER", {"c": "libc", "i": "icu", "b": "builtin"}[golden.provider]))
        if golden.locale is not None:
            options.append(("BUILTIN_LOCALE" if golden.provider == "b" else "ICU_LOCALE", golden.locale))
        if golden.icu_rules is not None:
            options.append(("ICU_RULES", golden.icu_rules))
    return sql.SQL(" ").join(
        [
            # template1 may have objects that users added, or another locale.
            sql.SQL("TEMPLATE template0"),
            # Our role can only make another role the owner if it is a member of that role.
            *([sql.SQL("OWNER {}").format(sql.Identifier(golden.owner))] if golden.ours else []),
            *([sql.SQL("TABLESPACE {}").format(sql.Identifier(golden.tablespace))] if golden.tablespace else []),
            *(sql.SQL(f"{option} {{}}").format(sql.Literal(value)) for option, value in options),
        ]
    )
