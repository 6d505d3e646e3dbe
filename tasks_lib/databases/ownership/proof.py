"""
Decide whether a database is provably this repository's. No other module decides that.

Neither a name nor a comment proves it: every role may create a database with any name and write any comment on its own.
A database is ours when all of this is true:

1. its comment names this repository;
2. the comment has a proof that only this repository's key can make, for this comment on this very database;
3. no instant in the comment is later than the server's clock;
4. its owner is our own role or golden's owner, as golden is now or was when the comment was signed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.databases.ownership.comment import (
    NOW,
    OWNED,
    SERVER_ID,
    OwnershipComment,
    format_instant,
    parse_fields,
)
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.ddl import INVALID
from tasks_lib.errors import OwnershipError

if TYPE_CHECKING:
    from collections.abc import Collection

    from psycopg import Connection

    from tasks_lib.databases.ownership.comment import Owner, Role
    from tasks_lib.databases.ownership.signer import Signer

COLUMNS: LiteralString = (
    "d.datname, d.oid::int8, pg_get_userbyid(d.datdba), d.datdba::int8, "
    + OWNED
    + ", d.datconnlimit, shobj_description(d.oid, 'pg_database'), "
    + SERVER_ID
    + ", "
    + NOW
)
"""SQL: all that the decision needs of the database `d`, for `examine`."""

_NO_PROOF = "its comment has no proof that this repository wrote it (earlier versions wrote none)"

_NOT_SIGNED = (
    "this repository's key did not make the proof in its comment for this database and these words: "
    "the comment was copied or changed, or the key was lost"
)

_RENAME = "set WORKTREE_DB_PREFIX so that this repository's databases are named differently"


@dataclass(frozen=True)
class Proven:
    """
    A database that is provably this repository's.

    Attributes:
        invalid: Whether an interrupted DROP DATABASE has left it, so that it can only be dropped.
    """

    name: str
    oid: int
    comment: OwnershipComment
    invalid: bool


@dataclass(frozen=True)
class Unproven:
    """
    A database that is not provably this repository's.

    Attributes:
        what: What it is instead, such as `is not ours`.
        owner: The role that owns it.
        comment: What its comment says; None if that is not an ownership comment.
        flaw: Why that proves nothing.
        cure: What to do about it; the last line may be a command.
        bare: Whether it has no comment at all, like a database that was created a moment ago.
        signable: Whether nothing but the proof is missing or wrong, so that a person may have it signed.
        plausible: Whether it may well be ours: `signable`, or signed, but with another owner or a later instant.
    """

    name: str
    oid: int
    what: str
    owner: str
    comment: OwnershipComment | None
    flaw: str
    cure: str
    bare: bool = False
    signable: bool = False
    plausible: bool = False

    def error(self) -> OwnershipError:
        """Return the refusal."""
        return OwnershipError(f"database `{self.name}` {self.what}", why=self.flaw, hint=self.cure)


def examine(
    connection: Connection[Any], signer: Signer, row: tuple[Any, ...], *, logins: Collection[str] = ()
) -> Proven | Unproven:
    """
    Decide about the database of *row*, whose columns are `COLUMNS`.

    Args:
        logins: Further roles that are our own, as another URL than that of *connection* names one.
    """
    name, oid, owner, owner_oid, owned, limit, text, server, now = row
    fields = parse_fields(text) or {}
    proof = fields.pop("proof", "")
    comment = OwnershipComment.from_fields(fields)
    if comment is None:
        flaw = f"it has no ownership comment, so this tool did not create it; its owner is role `{owner}`"
        cure = f"rename it, or {_RENAME}"
        return Unproven(name, oid, "is not ours", owner, None, flaw, cure, bare=text is None)
    if comment.repository != signer.repository:
        flaw = f"its comment names repository {comment.repository}; this one is {signer.repository}"
        return Unproven(name, oid, "belongs to another repository", owner, comment, flaw, _RENAME)
    # Only texts and numbers: what others write may be nested too deep to be encoded.
    plain = isinstance(proof, str) and all(isinstance(value, str | int) for value in fields.values())
    signed = plain and signer.has_signed(proof, server, oid, fields)
    flaws, cure = [], ""
    if not signed:
        flaws.append(_NOT_SIGNED if proof else _NO_PROOF)
    if late := next((instant for instant in (comment.created_at, comment.parked_at) if _is_later(instant, now)), ""):
        flaws.append(f"its comment says {late}, but the server's clock says {format_instant(now)[:19]}")
        cure = "correct the server's clock, or wait until then"
    trusted = owned or owner in logins or (signed and owner_oid == comment.given_to)
    if not trusted and owner_oid != _owner_of(connection, comment.golden):
        flaws.append(f"its owner is role `{owner}`, neither our own role `{connection.info.user}` nor golden's owner")
        cure = _cure_owner(connection, name, owner) if signed else ""
    if not flaws:
        return Proven(name, oid, comment, limit == INVALID)
    signable = flaws in ([_NO_PROOF], [_NOT_SIGNED])
    if signable:
        flaws.append(f"its owner is role `{owner}`")
        cure = f"if it is this repository's, let a person sign its comment; else {_RENAME}:\ninv db.sign"
    cure = cure or f"{_RENAME}, or let an administrator drop it"
    what, flaw = "is not provably ours", "\n".join(flaws)
    return Unproven(name, oid, what, owner, comment, flaw, cure, signable=signable, plausible=signed or signable)


def look_up(
    connection: Connection[Any], signer: Signer, name: str, *, logins: Collection[str] = ()
) -> Proven | Unproven | None:
    """Decide about the database *name*; None if it does not exist."""
    query: LiteralString = "SELECT " + COLUMNS + " FROM pg_database d WHERE d.datname = %s"
    row = connection.execute(query, [name]).fetchone()
    return None if row is None else examine(connection, signer, row, logins=logins)


def list_commented(
    connection: Connection[Any], signer: Signer, prefix: str, *, usable: bool
) -> list[Proven | Unproven]:
    """
    Decide about each database with an ownership comment whose name begins with *prefix*.

    Args:
        usable: Leave out databases that an interrupted DROP DATABASE has left behind.
    """
    query: LiteralString = (
        "SELECT "
        + COLUMNS
        + " FROM pg_database d WHERE starts_with(d.datname, %s) AND (d.datconnlimit <> %s OR NOT %s) ORDER BY d.datname"
    )
    rows = connection.execute(query, [prefix, INVALID, usable]).fetchall()
    found = [examine(connection, signer, row) for row in rows]
    return [database for database in found if database.comment is not None]


def find_ours(
    connection: Connection[Any], name: str, owner: Owner, role: Role, *, logins: Collection[str] = ()
) -> Proven | None:
    """
    Return the database *name* after proving that it belongs to *owner* in that *role*; None if it does not exist.

    Args:
        logins: As for `examine`.

    Raises:
        OwnershipError: If it is not provably ours, or has another owner or role.
    """
    found = look_up(connection, owner.signer, name, logins=logins)
    if isinstance(found, Unproven):
        raise found.error()
    if found is not None and (found.comment.slug, found.comment.role) != (owner.slug, role):
        raise OwnershipError(
            f"database `{name}` is the {found.comment.role} of worktree `{found.comment.slug}`",
            why=f"expected the {role} of worktree `{owner.slug}`",
        )
    return found


def require_ours(
    connection: Connection[Any], name: str, owner: Owner, role: Role, *, logins: Collection[str] = ()
) -> Proven:
    """
    Return the database *name* after proving that it belongs to *owner* in that *role*.

    Raises:
        OwnershipError: If it does not exist, is not provably ours, or has another owner or role.
    """
    found = find_ours(connection, name, owner, role, logins=logins)
    if found is None:
        raise OwnershipError(
            f"database `{name}` does not exist", why="setup makes what is missing", hint="inv worktree.setup"
        )
    return found


def is_owner_trusted(connection: Connection[Any], name: str, golden: str) -> bool:
    """Whether the owner of the database *name* is our own role, or the owner of *golden*."""
    query: LiteralString = (
        "SELECT " + OWNED + " OR d.datdba = (SELECT datdba FROM pg_database WHERE datname = %s) "
        "FROM pg_database d WHERE d.datname = %s"
    )
    return bool(scalar(connection, query, [golden, name]))


def _is_later(instant: str, now: float) -> bool:
    """Whether *instant* is later than *now*; what is not an instant is not."""
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(instant).astimezone().timestamp() > now
    return False


def _owner_of(connection: Connection[Any], name: str) -> int | None:
    owner: int | None = scalar(connection, "SELECT datdba::int8 FROM pg_database WHERE datname = %s", [name])
    return owner


def _cure_owner(connection: Connection[Any], name: str, owner: str) -> str:
    ours = connection.info.user
    statement = f'ALTER DATABASE "{name}" OWNER TO "{ours}"'
    return f"log in as `{owner}`, or if the database should be our role's:\npsql postgres -c '{statement}'"
