"""
Check before the first change that our role may copy golden in the way that will be chosen, and name what cures it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.databases.copy import fill
from tasks_lib.databases.ownership.golden_template import format_membership_hint
from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.sessions import READER
from tasks_lib.errors import CloneError, DatabaseError
from tasks_lib.output import format_first

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source

# What pg_dump reads, and the comparison after it.
_UNREADABLE: LiteralString = """
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || format('%%I.%%I', n.nspname, c.relname),
        format('%%I', n.nspname), NULL::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
    UNION ALL
    SELECT 'large object ' || oid, NULL, oid::text FROM pg_largeobject_metadata
    WHERE NOT pg_has_role(lomowner, 'USAGE') AND NOT EXISTS (
        SELECT FROM aclexplode(lomacl) a
        WHERE a.privilege_type = 'SELECT' AND CASE a.grantee WHEN 0 THEN true ELSE pg_has_role(a.grantee, 'USAGE') END
    )
    ORDER BY 1"""


def require_copyable(
    source: Source,
    connection: Connection[Any],
    golden: Golden,
    *,
    method: str = "auto",
    fresh: bool = False,
    evict_idle: bool = False,
) -> None:
    """
    Check that our role may copy *golden*, which nothing else obstructs; only what the chosen way needs is demanded.

    Args:
        method, fresh, evict_idle: As in `CloneOptions`.

    Raises:
        ServerError: If a dump is needed, and its programs are missing.
        CloneError, DatabaseError: If our role lacks a right.
    """
    if method == "template":
        if not golden.ours:
            raise CloneError(
                f"role `{golden.role}` may not copy `{golden.name}` by TEMPLATE",
                why=f"it belongs to `{golden.owner}`; only its owner and superusers may",
                hint=f"use WORKTREE_CLONE_METHOD=auto, or {format_membership_hint(connection, golden)}",
            )
        return
    if not golden.connectable:
        raise DatabaseError(
            f"role `{golden.role}` may not connect to `{golden.name}`",
            why="golden is read to see whether it has changed, and to dump it",
            hint=f'as `{golden.owner}`:\nGRANT CONNECT ON DATABASE "{golden.name}" TO "{golden.role}"',
        )
    if method == "auto":
        if fill.template_obstacle(golden, evict_idle=evict_idle) is None:
            return
        if not fresh and source.list_copies(connection, "snapshot", golden.oid, usable=True):
            return  # it is probably current; if not, the dump itself says what is missing
    binaries.find_clients(connection.info.server_version)
    if connection.info.parameter_status("is_superuser") != "on":
        with source.server.connect(golden.name) as inside:
            inside.execute(f"SET application_name = '{READER}'".encode())
            require_readable(inside, golden)


def require_readable(inside: Connection[Any], golden: Golden) -> None:
    """
    Check that our role may read everything in *golden* that a dump reads.

    Args:
        inside: A session in it.

    Raises:
        DatabaseError: If it may not.
    """
    unreadable = inside.execute(_UNREADABLE, []).fetchall()
    if not unreadable:
        return
    raise DatabaseError(
        f"role `{golden.role}` may not read all of `{golden.name}`",
        why="a dump reads everything; missing: " + format_first([name for name, _, _ in unreadable], 10),
        hint="\n".join(_read_hints(inside, golden, unreadable)),
    )


def _read_hints(inside: Connection[Any], golden: Golden, unreadable: list[tuple[str, str | None, str | None]]) -> Any:
    if golden.member:
        yield format_membership_hint(inside, golden)
        return
    schemas = dict.fromkeys(schema for _, schema, _ in unreadable if schema)
    yield f"as a superuser, in `{golden.name}`:"
    if schemas and inside.info.server_version >= 140_000:
        yield f'GRANT pg_read_all_data TO "{golden.role}";'
    else:
        for schema in schemas:
            yield f'GRANT USAGE ON SCHEMA {schema} TO "{golden.role}";'
            for kind in ("TABLES", "SEQUENCES"):
                yield f'GRANT SELECT ON ALL {kind} IN SCHEMA {schema} TO "{golden.role}";'
    for _, _, large_object in unreadable:
        if large_object:
            yield f'GRANT SELECT ON LARGE OBJECT {large_object} TO "{golden.role}";'
