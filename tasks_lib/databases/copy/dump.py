"""
Copy golden with `pg_dump | psql`, which works while other sessions use it.

`transfer` runs the programs and compares the copy with golden.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.compare import fingerprint
from tasks_lib.databases.copy import transfer
from tasks_lib.databases.copy.transfer import Dump
from tasks_lib.databases.ownership.golden_template import role_transfer_privilege
from tasks_lib.databases.server.connection import scalar
from tasks_lib.errors import CloneError
from tasks_lib.output import format_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.compare.fingerprint import Fingerprint
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.server.connection import Server


def copy(server: Server, golden: Golden, create: Callable[[], None], temporary: str) -> Fingerprint:
    """
    Dump *golden* into the database *temporary*, which *create* creates from template0.

    Returns golden's fingerprint in the dumped snapshot.

    Raises:
        CloneError: If either program fails, or the copy differs from golden.
        DatabaseError: If golden cannot be read.
    """
    with server.connect(golden.name) as source:
        snapshot = transfer.export_snapshot(source)
        options = () if _owners_are_ours(source) else ("--no-owner", "--no-privileges")
        version = source.info.server_version
        dump = Dump(
            server, golden.name, snapshot, options, transfer.read_extensions(source), server, version, temporary
        )
        with transfer.dump_and_restore(dump, source, create) as sent:
            found = fingerprint.read(source, golden.oid)
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


def _owners_are_ours(source: Connection[Any]) -> bool:
    """Whether our role may restore the owner of every object, so that owners and privileges can be kept."""
    query = """
        SELECT coalesce(bool_and(pg_has_role(owner, %s)), true)
        FROM (
            SELECT 'pg_class'::regclass AS class, oid, relowner AS owner
            FROM pg_class WHERE relkind NOT IN ('i', 'I', 't') AND relpersistence <> 't'
            UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
            UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
            UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace WHERE nspname !~ '^pg_'
            UNION ALL SELECT 'pg_default_acl'::regclass, oid, defaclrole FROM pg_default_acl
        ) AS objects
        -- Lower oids are PostgreSQL's own; members of extensions and parts of other objects are not dumped separately.
        WHERE oid >= 16384 AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = objects.oid AND d.deptype IN ('e', 'i')
        )"""
    return bool(scalar(source, query, [role_transfer_privilege(source)]))
