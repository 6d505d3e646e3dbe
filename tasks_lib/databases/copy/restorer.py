"""
Restore a dump as golden's owner instead of as our role, so that golden's functions do not run with our rights.

A restore runs code of golden: CHECK constraints, domains, generated columns, materialized views. `SET ROLE` would not
confine it, because a function can set the role back. So a temporary role logs in that is a member of the owner and has
no other right. It can restore what one ordinary role owns. Everything else is restored as our role, and that is said.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, LiteralString

from tasks_lib.databases.ownership.golden_template import role_transfer_privilege
from tasks_lib.databases.server.connection import Server, scalar
from tasks_lib.errors import CloneError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

# The bootstrap superuser has no rows in pg_shdepend. Members of extensions are not dumped separately.
_OWNERS: LiteralString = """
    SELECT r.oid::int8, r.rolname, r.rolsuper OR r.rolname = session_user, pg_has_role(r.oid, %s)
    FROM (
        SELECT DISTINCT refobjid FROM pg_shdepend s
        WHERE deptype = 'o' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid <> 'pg_publication'::regclass
            AND NOT EXISTS (SELECT FROM pg_class c WHERE s.classid = 'pg_class'::regclass AND c.oid = s.objid
                AND c.relpersistence = 't')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid, d.deptype) = (s.classid, s.objid, 'e'))
    ) AS owners
    JOIN pg_roles r ON r.oid = refobjid
    ORDER BY 2"""
_OF_BOOTSTRAP: LiteralString = """
    SELECT pg_get_userbyid(10), pg_has_role(10, %s)
    FROM (
        SELECT 'pg_class'::regclass AS class, oid, relowner AS owner FROM pg_class WHERE relpersistence <> 't'
        UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
        UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
        UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace WHERE nspname !~ '^pg_'
        UNION ALL SELECT 'pg_default_acl'::regclass, oid, defaclrole FROM pg_default_acl
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwowner FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner FROM pg_foreign_server
        UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner FROM pg_event_trigger
        UNION ALL SELECT 'pg_language'::regclass, oid, lanowner FROM pg_language
        UNION ALL SELECT 'pg_collation'::regclass, oid, collowner FROM pg_collation
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner FROM pg_operator
        UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner FROM pg_conversion
        UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner FROM pg_statistic_ext
        UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner FROM pg_ts_dict
        UNION ALL SELECT NULL, 16384, lomowner FROM pg_largeobject_metadata
    ) AS objects
    -- Lower oids are PostgreSQL's own; parts of other objects are not dumped separately, such as the types of tables.
    WHERE owner = 10 AND oid >= 16384 AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = objects.oid AND d.deptype IN ('e', 'i')
    )
    LIMIT 1"""

# What only a superuser may create, and privileges that only another role may grant.
_OBSTACLE: LiteralString = """
    SELECT pg_describe_object(class, objects.oid, part)
    FROM (
        SELECT 'pg_class'::regclass AS class, oid, 0 AS part, relowner AS owner, relacl AS privileges, false AS special
        FROM pg_class
        -- pg_dump leaves this schema out.
        WHERE relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname = 'information_schema')
        UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, relowner, attacl, false
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE attacl IS NOT NULL
        UNION ALL SELECT 'pg_proc'::regclass, p.oid, 0, proowner, proacl,
            -- The language of an aggregate is internal.
            proleakproof OR NOT l.lanpltrusted AND p.prokind <> 'a'
        FROM pg_proc p JOIN pg_language l ON l.oid = prolang
        UNION ALL SELECT 'pg_type'::regclass, oid, 0, typowner, typacl, false FROM pg_type
        UNION ALL SELECT 'pg_namespace'::regclass, oid, 0, nspowner, nspacl, false
        FROM pg_namespace WHERE nspname NOT IN ('public', 'information_schema')
        UNION ALL SELECT 'pg_language'::regclass, oid, 0, lanowner, lanacl, true FROM pg_language
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwowner, fdwacl, true
        FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 0, srvowner, srvacl, false FROM pg_foreign_server
        UNION ALL SELECT 'pg_largeobject'::regclass, oid, 0, lomowner, lomacl, false FROM pg_largeobject_metadata
        UNION ALL SELECT 'pg_opclass'::regclass, oid, 0, 0, NULL, true FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily'::regclass, oid, 0, 0, NULL, true FROM pg_opfamily
        UNION ALL SELECT 'pg_cast'::regclass, oid, 0, 0, NULL, castmethod = 'b' FROM pg_cast
        UNION ALL SELECT 'pg_am'::regclass, oid, 0, 0, NULL, true FROM pg_am
        UNION ALL SELECT 'pg_ts_parser'::regclass, oid, 0, 0, NULL, true FROM pg_ts_parser
        UNION ALL SELECT 'pg_ts_template'::regclass, oid, 0, 0, NULL, true FROM pg_ts_template
    ) AS objects
    LEFT JOIN pg_init_privs i ON i.classoid = class AND i.objoid = objects.oid AND i.objsubid = part
    WHERE privileges IS NOT NULL AND CASE WHEN owner = %(owner)s
        THEN EXISTS (SELECT FROM aclexplode(privileges) a WHERE a.grantor <> owner)
        ELSE privileges IS DISTINCT FROM i.initprivs END
    OR special AND objects.oid >= 16384 AND NOT EXISTS (
        -- Members of extensions, and parts of other objects, such as the constructor of a range type.
        SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = objects.oid AND d.deptype IN ('e', 'i')
    )
    LIMIT 1"""

# A row without a privilege if there are none.
_PUBLIC: LiteralString = """
    SELECT pg_get_userbyid(nullif(a.grantee, 0)), a.privilege_type, a.is_grantable
    FROM pg_namespace n
    LEFT JOIN LATERAL aclexplode(n.nspacl) a ON a.grantee <> n.nspowner AND a.grantor = n.nspowner
    WHERE n.nspname = 'public' AND n.nspowner <> %(owner)s AND NOT (
        pg_get_userbyid(n.nspowner) = 'pg_database_owner'
        AND %(owner)s = (SELECT datdba FROM pg_database WHERE datname = current_database())
    )"""


@dataclass(frozen=True)
class Owners:
    """
    The owners of what golden contains, without the objects of extensions.

    Attributes:
        transferable: Whether our role may make each of them an owner.
        strangers: Those that are neither our login nor superusers: a restore as our role gives their code more rights.
        sole: The only owner, if that is such a role and may restore everything; empty otherwise.
        why_not: Why there is no *sole* owner.
        public: The schema public's privileges, if another role owns it: grantee (None for all), privilege, grantable.
    """

    transferable: bool
    strangers: tuple[str, ...]
    sole: str = ""
    why_not: str = ""
    public: tuple[tuple[str | None, str | None, bool], ...] = ()


def read_owners(source: Connection[Any]) -> Owners:
    """Read the owners of what the database of *source* contains."""
    rows = source.execute(_OWNERS, [role_transfer_privilege(source)]).fetchall()
    is_superuser = source.info.parameter_status("is_superuser") == "on"
    strangers = tuple(name for _, name, trusted, _ in rows if not trusted)
    if strangers or not is_superuser:
        of_bootstrap = source.execute(_OF_BOOTSTRAP, [role_transfer_privilege(source)]).fetchall()
        rows += [(10, name, True, transferable) for name, transferable in of_bootstrap]
    found = Owners(all(transferable for *_, transferable in rows), strangers)
    if not strangers:
        return found
    if len(rows) > 1:
        return replace(found, why_not=f"it has objects of {len(rows)} roles: {', '.join(row[1] for row in rows)}")
    if not is_superuser:
        return replace(found, why_not="only a superuser can restore as the owner")
    if obstacle := scalar(source, _OBSTACLE, {"owner": rows[0][0]}):
        return replace(found, why_not=f"only a superuser can restore {obstacle} or its privileges")
    return replace(found, sole=strangers[0], public=tuple(source.execute(_PUBLIC, {"owner": rows[0][0]}).fetchall()))


@dataclass(frozen=True)
class Restorer:
    """
    Restores the database *database* as the role *owner*; only the head of the dump needs our role.

    Attributes:
        ours: The server as our role.
        login: The server as a role that can only act as *owner*.
        database_owner: The role that is to own the database.
        public: As in `Owners`.
    """

    ours: Server
    login: Server
    database: str
    owner: str
    database_owner: str
    public: tuple[tuple[str | None, str | None, bool], ...]

    @property
    def options(self) -> str:
        """The session options of the login."""
        return "-c role=" + re.sub(r"([\\\s])", r"\\\1", self.owner)

    def restore_head(self, settings: bytes, head: bytes) -> None:
        """Restore schemas and extensions as our role, then let the owner create objects."""
        from psycopg import sql

        with self.ours.connect(self.database) as connection:
            # Separate statements, because the first sets the encoding of the second. psql alone knows backslashes.
            connection.execute(re.sub(rb"(?m)^\\.*", b"", settings))
            connection.execute(head)
            if self.public:
                connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            for grantee, privilege, grantable in self.public:
                if privilege:
                    connection.execute(
                        sql.SQL("GRANT {} ON SCHEMA public TO {} {}").format(
                            sql.SQL(privilege),
                            sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC"),
                            sql.SQL("WITH GRANT OPTION" if grantable else ""),
                        )
                    )
            # A role that is not golden's owner may own no database of ours: `drop_temporary` would refuse it.
            if self.owner == self.database_owner:
                set_owner(connection, self.database, self.owner)


@contextmanager
def temporary_login(
    server: Server, connection: Connection[Any], owners: Owners, database: str, database_owner: str
) -> Iterator[Restorer | None]:
    """
    Create a role that can log in to the empty database *database* and act as its sole owner; drop it afterwards.

    The role has the database's name. If the body fails, it is left to `drop_temporary`, because it may own something.
    Gives None if the server rejects its login.

    Raises:
        CloneError: If it owns something afterwards.
    """
    from psycopg import errors, sql

    role, password = sql.Identifier(database), secrets.token_urlsafe(32)
    connection.execute(
        # Two connections, because the server may still be ending the first when psql logs in.
        sql.SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT 2 PASSWORD {} IN ROLE {}").format(
            role, sql.Literal(_scram_verifier(password)), sql.Identifier(owners.sole)
        )
    )
    # The user's options may set a role that this one may not.
    kept = {key: value for key, value in server.url.parameters.items() if key != "passfile"}
    login = Server(
        replace(server.url, parameters={**kept, "user": database, "password": password, "options": "-c role=none"})
    )
    if _may_log_in(login, database):
        yield Restorer(server, login, database, owners.sole, database_owner, owners.public)
    else:
        yield None
    try:
        connection.execute(sql.SQL("DROP ROLE {}").format(role))
    except errors.DependentObjectsStillExist as error:
        raise CloneError(
            f"a function of `{owners.sole}` has created objects that do not belong to `{owners.sole}`",
            why=str(error.diag.message_detail),
        ) from None


def _scram_verifier(password: str) -> str:
    """
    Return what the server stores for *password*: its log may show the statement, so the password is not in it.

    RFC 5803 says how it is made. One round is enough for 256 random bits, and saves 10 ms at each login.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    encoded = [b64encode(key).decode() for key in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return "SCRAM-SHA-256$1:{}${}:{}".format(*encoded)


def _may_log_in(login: Server, database: str) -> bool:
    """Whether the server accepts the login; pg_hba.conf may allow only certain roles or methods."""
    try:
        with login.connect(database):
            return True
    except ServerError as error:
        if "rejects the login" not in error.what:
            raise
        return False


def set_owner(connection: Connection[Any], database: str, owner: str) -> None:
    """Make the role *owner* the owner of *database*."""
    from psycopg import sql

    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), sql.Identifier(owner)))


def format_warning(golden: str, role: str, why: str) -> str:
    """Return the line to report when *golden*'s code is restored with the rights of our role."""
    return (
        f"warning: anyone who may create objects in {golden} can run code as {role}, because {why}; "
        "see docs/explanation/clones.md"
    )
