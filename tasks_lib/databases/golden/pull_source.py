"""
Open the database that data is pulled from, read-only, and check that it can be pulled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.clone.preflight import require_readable
from tasks_lib.databases.copy import transfer
from tasks_lib.databases.ownership.comment import read_comment
from tasks_lib.databases.ownership.golden_template import describe_database, require_may_create
from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.connection import Server, scalar
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import DatabaseError, OwnershipError, SettingsError

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks_lib.databases.ownership.golden_template import Golden
    from tasks_lib.databases.ownership.source import Source

URL = "PULL_DATABASE_URL"


@dataclass(frozen=True)
class PullSource:
    """
    A database that is only read.

    Attributes:
        server: Makes every session read-only, pg_dump's included.
    """

    server: Server
    database: str

    @classmethod
    def parse(cls, text: str) -> PullSource:
        """
        Parse the URL *text*.

        Raises:
            SettingsError: If it cannot be used, or contains no database name. Never shows *text*.
        """
        url = DatabaseUrl.parse(text, source=URL)
        if not url.database:
            raise SettingsError(
                f"{URL} contains no database name", hint=f"write {URL} as postgresql://user@host/database"
            )
        return cls(Server(url, read_only=True), url.database)


@dataclass(frozen=True)
class PullCheck:
    """
    The result of the check.

    Attributes:
        described: The remote database's properties, as for a golden template.
        extensions: The versions of the extensions that the target server has in the same version.
        upgraded: The tables and sequences of the other extensions, which the target's versions may create differently.
        alike: Whether both servers have the same major version, and all extensions the same version.
        remarks: Differences that the copy will have.
    """

    described: Golden
    extensions: dict[str, str]
    upgraded: frozenset[str]
    alike: bool
    remarks: tuple[str, ...]

    def is_comparable(self, topic: str, name: str) -> bool:
        """Whether *name* will be the same in a copy; *topic* and *name* are as in `Contents`."""
        if topic == "objects":
            # Types and extensions add functions, which differ between versions.
            return self.alike
        return topic in ("tables", "sequences") and name not in self.upgraded


def check_pull_source(remote: PullSource, there: Connection[Any], source: Source, here: Connection[Any]) -> PullCheck:
    """
    Check that *remote* can be pulled; nothing is changed.

    Args:
        there: A session in the remote database.
        here: A session on the target server.

    Raises:
        ServerError: If the URL goes through a connection pooler, no `pg_dump` is new enough, or ours is a standby.
        OwnershipError: If it is the golden template, the application's own database, or one that this tool made.
        DatabaseError: If the target server cannot restore it, or our role may not read it or create databases.
    """
    remote.server.require_direct(there)
    require_may_create(here)
    _require_foreign(remote, there, source, here)
    _require_restorable(remote, there, here)
    _require_roles(remote, there, here)
    needed = transfer.read_extensions(there)
    pinned = _require_extensions(remote, needed, here)
    others = sorted(needed.keys() - pinned.keys())
    remarks = [
        f"extension `{name}` {needed[name]} is not available here; its default version is used" for name in others
    ]
    servers = [name for (name,) in there.execute("SELECT srvname FROM pg_foreign_server ORDER BY 1")]
    if servers:
        remarks.append(f"foreign servers are copied, and still connect to the same addresses: {_format_names(servers)}")
    described = describe_database(there, remote.database)
    if described is None:
        raise DatabaseError(f"`{remote.database}` has just been renamed")
    if there.info.parameter_status("is_superuser") != "on":
        require_readable(there, described)
    alike = not others and there.info.server_version // 10_000 == here.info.server_version // 10_000
    return PullCheck(described, pinned, _list_members(there, others), alike, tuple(remarks))


def _require_foreign(remote: PullSource, there: Connection[Any], source: Source, here: Connection[Any]) -> None:
    """Refuse one of our own databases, whatever address the URL uses for the server."""
    (their_id, their_start), (our_id, our_start) = _identity(there), _identity(here)
    if their_start != our_start and (their_id is None or their_id != our_id):
        return
    comment = read_comment(here, remote.database)
    if comment is not None and comment.repository == source.repository:
        what = (
            f"the {comment.role} of worktree `{comment.slug}`"
            if comment.slug
            else f"a {comment.role} of this repository"
        )
    elif remote.database == source.golden:
        what = "the golden template itself"
    elif remote.database == source.server.url.database:
        what = "the database that DATABASE_URL names"
    else:
        return
    raise OwnershipError(
        f"{URL} points to `{remote.database}` on this server",
        why=f"it is {what}",
        hint=f"set {URL} to the database whose data you want; to copy the golden template:\ninv db.clone",
    )


def _identity(connection: Connection[Any]) -> tuple[int | None, str]:
    """Return a server's identifier, None if our role may not read it, and its start time and port."""
    readable = scalar(connection, "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
    return (
        scalar(connection, "SELECT system_identifier FROM pg_control_system()") if readable else None,
        scalar(
            connection, "SELECT extract(epoch FROM pg_postmaster_start_time())::text || ' ' || current_setting('port')"
        ),
    )


def _require_restorable(remote: PullSource, there: Connection[Any], here: Connection[Any]) -> None:
    theirs, ours = there.info.server_version // 10_000, here.info.server_version // 10_000
    if theirs > ours:
        raise DatabaseError(
            f"`{remote.database}` is on PostgreSQL {theirs}, but this server is PostgreSQL {ours}",
            why="an older server cannot restore everything that a newer pg_dump writes",
            hint=f"set DATABASE_URL to a server of PostgreSQL {theirs} or newer",
        )
    binaries.find_clients(there.info.server_version)


def _require_roles(remote: PullSource, there: Connection[Any], here: Connection[Any]) -> None:
    """Refuse policies and user mappings that name missing roles; owners and privileges are not copied."""
    needed = [
        name
        for (name,) in there.execute(
            "SELECT r.rolname FROM pg_policy p JOIN pg_roles r ON r.oid = ANY (p.polroles) "
            "UNION SELECT usename FROM pg_user_mappings WHERE umuser <> 0 ORDER BY 1"
        )
    ]
    known = {name for (name,) in here.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [needed])}
    if missing := [name for name in needed if name not in known]:
        raise DatabaseError(
            f"this server lacks roles: {_format_names(missing)}",
            why=f"row-level policies or user mappings of `{remote.database}` name them",
            hint="\n".join(f'CREATE ROLE "{name}" NOLOGIN;' for name in missing),
        )


def _require_extensions(remote: PullSource, needed: dict[str, str], here: Connection[Any]) -> dict[str, str]:
    """Return the *needed* extensions that are available here in the same version; refuse one without any version."""
    known = set(here.execute("SELECT name, version FROM pg_available_extension_versions"))
    if missing := sorted(needed.keys() - {name for name, _ in known}):
        raise DatabaseError(
            f"this server lacks extensions: {_format_names(missing)}",
            why=f"`{remote.database}` uses them",
            hint="install them on this server, or set DATABASE_URL to a server that has them",
        )
    return {name: version for name, version in needed.items() if (name, version) in known}


def _list_members(there: Connection[Any], extensions: list[str]) -> frozenset[str]:
    """Return the tables and sequences that belong to *extensions*, named as in `Contents`."""
    rows = there.execute(
        "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_depend d "
        "JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass "
        "JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.deptype = 'e' AND e.extname = ANY (%s)",
        [extensions],
    )
    return frozenset(name for (name,) in rows)


def _format_names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
