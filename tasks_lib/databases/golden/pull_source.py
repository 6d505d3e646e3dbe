"""
The database that data is pulled from: opened read-only, and examined before anything is made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tasks_lib.databases.copy import transfer
from tasks_lib.databases.ownership import comment
from tasks_lib.databases.ownership.golden_template import describe_database
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
        server: Every session that is opened by its URL, pg_dump's too, refuses to write.
    """

    server: Server
    database: str

    @classmethod
    def parse(cls, text: str) -> PullSource:
        """
        Understand the URL *text*.

        Raises:
            SettingsError: If it cannot be used, or names no database. Never shows *text*.
        """
        url = DatabaseUrl.parse(text, source=URL)
        if not url.database:
            raise SettingsError(f"{URL} names no database", hint=f"write {URL} as postgresql://user@host/database")
        # The last one counts; and what a session starts with comes before what its role or database is set to.
        options = url.parameters.get("options") or os.environ.get("PGOPTIONS", "")
        options = f"{options} -c default_transaction_read_only=on".strip()
        return cls(Server(replace(url, parameters={**url.parameters, "options": options})), url.database)


@dataclass(frozen=True)
class PullCheck:
    """
    What a remote database needs here.

    Attributes:
        described: As a golden template would be.
        extensions: The versions that the server here has, too.
        upgraded: The tables of the other extensions, which will be as their versions here make them.
        alike: Whether both servers are of one major version, and all extensions will be of the same.
        remarks: What will not be as it is there.
    """

    described: Golden
    extensions: dict[str, str]
    upgraded: frozenset[str]
    alike: bool
    remarks: tuple[str, ...]

    def is_comparable(self, topic: str, name: str) -> bool:
        """Whether *name* will be the same in a copy, of the *topic* as in `facts`."""
        if topic == "objects":
            # Types and extensions bring functions of their own, others in each version.
            return self.alike
        return topic in ("tables", "sequences") and name not in self.upgraded


def check_pull_source(remote: PullSource, there: Connection[Any], source: Source, here: Connection[Any]) -> PullCheck:
    """
    Make sure, before anything is made, that *remote* can be pulled.

    Args:
        there: A session in it.
        here: A session on the server that it is pulled to.

    Raises:
        ServerError: If a pooler stands in between, or no `pg_dump` fits.
        OwnershipError: If it is the golden template, the application's own database, or one that this tool made.
        DatabaseError: If the server here cannot hold it.
    """
    remote.server.require_direct(there)
    _require_foreign(remote, there, source, here)
    _require_restorable(remote, there, here)
    _require_roles(remote, there, here)
    needed = transfer.read_extensions(there)
    pinned = _available(remote, needed, here)
    others = sorted(needed.keys() - pinned.keys())
    remarks = [f"extension `{name}` {needed[name]} is not here; its default version takes its place" for name in others]
    servers = [name for (name,) in there.execute("SELECT srvname FROM pg_foreign_server ORDER BY 1")]
    if servers:
        remarks.append(f"foreign servers come along, and lead where they did: {_listed(servers)}")
    described = describe_database(there, remote.database)
    if described is None:
        raise DatabaseError(f"`{remote.database}` was renamed meanwhile")
    alike = not others and there.info.server_version // 10_000 == here.info.server_version // 10_000
    return PullCheck(described, pinned, _members(there, others), alike, tuple(remarks))


def _require_foreign(remote: PullSource, there: Connection[Any], source: Source, here: Connection[Any]) -> None:
    """Refuse one of our own databases, by whatever address the server is reached."""
    (their_id, their_start), (our_id, our_start) = _identity(there), _identity(here)
    if their_start != our_start and (their_id is None or their_id != our_id):
        return
    mark = comment.read_comment(here, remote.database)
    if mark is not None and mark.repository == source.repository:
        what = f"the {mark.role} of worktree `{mark.slug}`" if mark.slug else f"a {mark.role} of this repository"
    elif remote.database == source.golden:
        what = "the golden template itself"
    elif remote.database == source.server.url.database:
        what = "the database that DATABASE_URL names"
    else:
        return
    raise OwnershipError(
        f"{URL} names `{remote.database}` on this very server",
        why=f"it is {what}",
        hint=f"set {URL} to the database whose data you want; inv db.clone copies the golden template",
    )


def _identity(connection: Connection[Any]) -> tuple[int | None, str]:
    """Return what tells servers apart: an identifier, where our role may read it, and when and where it was started."""
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
            f"`{remote.database}` is on PostgreSQL {theirs}, and the server here is PostgreSQL {ours}",
            why="an older server does not understand all that a newer one's pg_dump writes",
            hint=f"let DATABASE_URL name a server of PostgreSQL {theirs} or newer",
        )
    binaries.find_clients(there.info.server_version)


def _require_roles(remote: PullSource, there: Connection[Any], here: Connection[Any]) -> None:
    """Refuse what names roles that are not here: neither owners nor privileges come along, but policies do."""
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
            f"the server here lacks roles: {_listed(missing)}",
            why=f"row-level policies or user mappings of `{remote.database}` name them",
            hint="\n".join(f'CREATE ROLE "{name}" NOLOGIN;' for name in missing),
        )


def _available(remote: PullSource, needed: dict[str, str], here: Connection[Any]) -> dict[str, str]:
    """Return those of the extensions *needed* that are here in the same version; refuse what is not here at all."""
    known = set(here.execute("SELECT name, version FROM pg_available_extension_versions"))
    if missing := sorted(needed.keys() - {name for name, _ in known}):
        raise DatabaseError(
            f"the server here lacks extensions: {_listed(missing)}",
            why=f"`{remote.database}` uses them",
            hint="install them there, or let DATABASE_URL name a server that has them",
        )
    return {name: version for name, version in needed.items() if (name, version) in known}


def _members(there: Connection[Any], extensions: list[str]) -> frozenset[str]:
    """Return the tables and sequences that belong to *extensions*, as `facts` names them."""
    rows = there.execute(
        "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_depend d "
        "JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass "
        "JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.deptype = 'e' AND e.extname = ANY (%s)",
        [extensions],
    )
    return frozenset(name for (name,) in rows)


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
