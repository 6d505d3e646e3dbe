"""
Migrate a ledger to this version's schema when it is first used.

Alembic is loaded only when a migration is needed. A migration is one transaction that takes the lock first: of
processes that start together, one migrates and the others find it done. On SQLite, foreign keys are off during a
migration, because rebuilding a table drops the old one, which would cascade to every row that refers to it.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tasks_lib.databases.compare.foreign_code import IS_FOREIGN
from tasks_lib.databases.server.session_settings import SEARCH_PATH
from tasks_lib.errors import LedgerError, SchemaTooNewError
from tasks_lib.ledger.store.engine import POSTGRES_SCHEMA, reading, writing
from tasks_lib.output import format_first

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config

REVISIONS = ("0001", "0002")
"""The revisions that this version knows, the oldest first; the last is its schema."""

_LOCK = 0x676F6C65
"""PostgreSQL's lock around a migration."""


_OTHER_OWNERS = sa.text(
    """
    SELECT DISTINCT pg_get_userbyid(owner) FROM (
        SELECT oid AS schema, nspowner AS owner FROM pg_namespace
        UNION ALL SELECT relnamespace, relowner FROM pg_class
        UNION ALL SELECT pronamespace, proowner FROM pg_proc
        UNION ALL SELECT oprnamespace, oprowner FROM pg_operator
        UNION ALL SELECT typnamespace, typowner FROM pg_type
    ) AS objects
    WHERE schema = (SELECT oid FROM pg_namespace WHERE nspname = :schema) AND {foreign}
    ORDER BY 1""".replace("{foreign}", IS_FOREIGN.replace("{owner}", "owner"))
)


def ensure_schema(engine: sa.Engine) -> None:
    """
    Migrate the ledger to the last of REVISIONS; on SQLite, an existing ledger is backed up first.

    Raises:
        SchemaTooNewError: If a newer version of this tool has written it.
        LedgerError: If a migration leaves rows with broken references; nothing is changed then.
    """
    with reading(engine).connect() as connection:
        if is_current(connection):
            return
    copy = None
    try:
        with _alone(engine) as connection:
            if not is_current(connection):  # now that we have the lock
                copy = _back_up(engine, revision(connection))
                _run(connection, "upgrade", "head")
    except BaseException:
        if copy is not None:
            copy.unlink()  # nothing was changed, and each further attempt would leave another copy
        raise


def downgrade(engine: sa.Engine, to: str) -> None:
    """Downgrade the ledger to revision *to*, for tests; data of newer revisions is lost."""
    with _alone(engine) as connection:
        _run(connection, "downgrade", to)


def revision(connection: sa.Connection) -> str | None:
    """Return the ledger's revision, None if it is empty."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def back_up(engine: sa.Engine, target: Path) -> None:
    """
    Copy a ledger on SQLite into the new file *target*: a consistent copy, while other processes keep writing.

    Raises:
        LedgerError: If it cannot be written.
    """
    # Use a separate connection: the caller's may be in a transaction, where VACUUM is refused.
    source = sqlite3.connect(f"{Path(str(engine.url.database)).absolute().as_uri()}?mode=ro", uri=True)
    try:
        target.touch(0o600, exist_ok=False)
        source.execute("VACUUM INTO ?", (str(target),))
    except OSError as error:
        raise LedgerError(f"`{target}` cannot be written: {error.strerror}") from None
    except (sqlite3.Error, UnicodeEncodeError) as error:  # SQLite's names are UTF-8
        target.unlink()
        raise LedgerError(f"the ledger cannot be copied to `{target}`", why=str(error)) from None
    finally:
        source.close()


def _back_up(engine: sa.Engine, now: str | None) -> Path | None:
    """Copy a ledger on SQLite beside its file. None of one in memory, nor on PostgreSQL: the transaction is enough."""
    if now is None or engine.dialect.name != "sqlite" or isinstance(engine.pool, sa.StaticPool):
        return None
    file = Path(str(engine.url.database))
    target = file.with_name(f"{file.stem}.{now}.bak")
    number = 1
    while target.exists():
        number += 1
        target = file.with_name(f"{file.stem}.{now}.{number}.bak")
    back_up(engine, target)
    return target


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Begin a transaction that excludes other migrations, and check foreign keys at its end."""
    with writing(engine).connect() as connection:
        raw = connection.connection.driver_connection
        lite = engine.dialect.name == "sqlite"
        if lite:
            # Not through SQLAlchemy, which would begin a transaction, where SQLite ignores this.
            raw.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        try:
            with connection.begin():
                if not lite:
                    connection.exec_driver_sql(f"SET LOCAL search_path = {SEARCH_PATH}")
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                    connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {POSTGRES_SCHEMA}")
                    connection.exec_driver_sql("SET LOCAL search_path TO DEFAULT")
                yield connection
                if lite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise LedgerError("the migration would leave rows that refer to nothing", why="nothing was changed")
        finally:
            if lite:
                raw.execute("PRAGMA foreign_keys = ON")  # type: ignore[union-attr]


def _require_own_schema(connection: sa.Connection) -> None:
    """
    Refuse a schema in which another role could have made what our statements run: functions, operators, triggers.

    Raises:
        LedgerError: If the schema, or anything in it, belongs to a role that is not trusted.
    """
    connection.exec_driver_sql(f"SET LOCAL search_path = {SEARCH_PATH}")
    others = connection.scalars(_OTHER_OWNERS, {"schema": POSTGRES_SCHEMA}).all()
    if others:
        role = connection.scalar(sa.text("SELECT current_user"))
        raise LedgerError(
            f"the schema `{POSTGRES_SCHEMA}` has objects of {format_first([f'role `{name}`' for name in others], 5)}",
            why=f"functions and triggers of theirs would run as role `{role}`",
            hint="let LEDGER_URL log in as an ordinary role that is a member of theirs, or give them to our role:\n"
            f'psql -c \'REASSIGN OWNED BY "{others[0]}" TO "{role}"\'',
        )
    connection.exec_driver_sql("SET LOCAL search_path TO DEFAULT")


def is_current(connection: sa.Connection) -> bool:
    """
    Whether the ledger has this version's schema.

    Raises:
        SchemaTooNewError: If a newer version of this tool has written it.
        LedgerError: If another role could have put code into its schema on PostgreSQL.
    """
    if connection.dialect.name == "postgresql":
        _require_own_schema(connection)
    found = revision(connection)
    if found is not None and found not in REVISIONS:
        raise SchemaTooNewError(
            f"the ledger is at revision `{found}`, this version knows up to `{REVISIONS[-1]}`",
            why="a newer version of goldentree has migrated it, and this one could lose its data",
            hint="python3 -m pip install --upgrade goldentree",
        )
    return found == REVISIONS[-1]


def _run(connection: sa.Connection, which: str, to: str) -> None:
    from alembic import command

    getattr(command, which)(configuration(connection), to)


def configuration(connection: sa.Connection) -> Config:
    """Return Alembic's configuration for the ledger behind *connection*."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
