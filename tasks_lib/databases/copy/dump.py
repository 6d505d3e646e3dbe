"""
Method `dump`: seed 000's `pg_dump | psql`, made safe. It works while others use golden.

How a dump travels, and how what arrives is compared with what was sent, is `transfer`'s business.
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tasks_lib.databases.compare.fingerprint import Fingerprint
    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.server.connection import Server


def copy(server: Server, golden: Golden, create: Callable[[], None], temporary: str) -> Fingerprint:
    """
    Dump *golden* into the database *temporary*, which *create* makes from template0.

    Returns the fingerprint that golden had at the moment that was dumped.

    Raises:
        CloneError: If either end fails, or what arrived is not what was sent.
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
            f"the clone is not what `{golden.name}` was",
            why="\n".join(str(difference) for difference in different[:10]),
            hint="WORKTREE_CLONE_METHOD=template copies everything, while nobody is connected to golden",
        )
    # One of chance, which golden will never have: nobody can tell at which moment the sequence was dumped.
    return replace(found, digest=secrets.token_hex(32)) if sent.moving and found.digest else found


def empty_database_options(golden: Golden, server_version: int) -> Any:
    """Return the options of CREATE DATABASE for an empty database with golden's encoding and locale."""
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
            # template1 may hold objects of somebody's own, or another locale.
            sql.SQL("TEMPLATE template0"),
            # Tables keep their owners only where our role may give them away; so does the database.
            *([sql.SQL("OWNER {}").format(sql.Identifier(golden.owner))] if golden.ours else []),
            *([sql.SQL("TABLESPACE {}").format(sql.Identifier(golden.tablespace))] if golden.tablespace else []),
            *(sql.SQL(f"{option} {{}}").format(sql.Literal(value)) for option, value in options),
        ]
    )


def _owners_are_ours(source: Connection[Any]) -> bool:
    """Whether our role may give every object its owner back, so that owners and privileges can be kept."""
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
        -- Below are PostgreSQL's own; what belongs to an extension or to another object is not dumped by itself.
        WHERE oid >= 16384 AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = objects.oid AND d.deptype IN ('e', 'i')
        )"""
    return bool(scalar(source, query, [role_transfer_privilege(source)]))
