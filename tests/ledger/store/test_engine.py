"""Transactions on both engines: waiting, writing, and error messages."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from tasks_lib.errors import ConflictError, LedgerError, NotFoundError
from tasks_lib.ledger.agents import conversations
from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.store import engine, migrate
from tasks_lib.ledger.store.clock import now

SECRET = "s3cret-t0ken"


def test_sqlite_connections_use_wal(sqlite_ledger, tmp_path):
    """Every connection of the pool checks foreign keys and writes ahead; the files are their owner's alone."""
    with sqlite_ledger.write() as tx:
        tx.initiatives.create(name="a")
    connections = [sqlite_ledger.engine.connect() for _ in range(4)]
    for connection in connections:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("foreign_keys", "journal_mode", "synchronous", "busy_timeout", "mmap_size")
        }
        assert pragmas == {
            "foreign_keys": 1,
            "journal_mode": "wal",
            "synchronous": 1,
            "busy_timeout": 10_000,
            "mmap_size": 0,
        }
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("ledger.db*")}
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    for connection in connections:
        connection.close()


def test_readers_cannot_write_and_do_not_wait(ledger):
    """During a write, readers see the previous state; they cannot write, and the next writer can."""
    written, seen = threading.Event(), threading.Event()

    def write():
        with ledger.write() as tx:
            tx.initiatives.create(name="a")
            written.set()
            assert seen.wait(30)

    with ThreadPoolExecutor() as pool:
        writer = pool.submit(write)
        assert written.wait(30)
        with ledger.read() as tx:
            assert tx.initiatives.find_all() == []
            assert not writer.done()
            seen.set()
            writer.result()
            assert tx.initiatives.find_all() == []  # as it was when this one began
    with pytest.raises(LedgerError, match=r"read-?only"), ledger.read() as tx:
        tx.initiatives.create(name="b")
    with ledger.write() as tx:
        tx.initiatives.create(name="c")
    with ledger.read() as tx:
        assert [initiative.name for initiative in tx.initiatives.find_all()] == ["a", "c"]


def test_readers_never_wait_for_writers(ledger):
    """What an exception leaves is undone; rows are plain afterwards; repositories are of no use after it."""
    with pytest.raises(NotFoundError), ledger.write() as tx:
        tx.initiatives.delete(tx.initiatives.create(name="a").id + "?")
    with ledger.write() as tx:
        kept = tx.initiatives.create(name="b")
        gone = tx.initiatives.create(name="c")
        tx.initiatives.delete(gone.id)
    assert (kept.name, gone.name) == ("b", "c")
    with pytest.raises(sa.exc.InvalidRequestError):
        tx.initiatives.create(name="lost silently")
    with ledger.read() as tx:
        assert tx.initiatives.find_all() == [kept]


def test_a_conflict_within_a_savepoint(ledger):
    """What the schema refuses within a savepoint is undone alone; the transaction goes on."""
    with ledger.write() as tx:
        tx.agents.create(name="owl", worktree_id="w")
        with pytest.raises(ConflictError, match="agents"), tx.session.begin_nested():
            tx.agents.create(name="owl", worktree_id="w")
        tx.agents.create(name="yak", worktree_id="w")
    with ledger.read() as tx:
        assert [agent.name for agent in tx.agents.find_all()] == ["owl", "yak"]


def test_errors_show_no_values(ledger):
    """However a write fails, its error names columns and constraints; what was to be written may be a secret."""

    def attempts(tx):
        yield lambda: tx.accounts.create(id="a", email="e", credentials=SECRET)
        yield lambda: tx.accounts.create(email=None, credentials=SECRET)
        yield lambda: tx.accounts.create(email="e", credentials=SECRET, sort_order=2**70)
        yield lambda: tx.accounts.create(email="e", credentials=SECRET, sort_order=SECRET)
        yield lambda: tx.accounts.create(email="e", credentials=[SECRET])
        yield lambda: tx.accounts.create(email="\udcff", credentials=SECRET)
        yield lambda: tx.session.execute(sa.text("UPDATE accounts SET nothing = :it"), {"it": SECRET})
        yield lambda: tx.session.execute(sa.text("UPDATE accounts SET id = :it, email = NULL"), {"it": SECRET})

    with ledger.write() as tx:
        tx.accounts.create(id="a", email="e", credentials=SECRET)
    for number in range(8):
        with pytest.raises(LedgerError) as caught, ledger.write() as tx:
            list(attempts(tx))[number]()
        error = caught.value
        assert SECRET not in f"{error} {error!r} {error.why} {error.hint} {error.__cause__!r}"
    with ledger.read() as tx:
        (account,) = tx.accounts.find_all()
    assert SECRET not in repr(account)
    if ledger.engine.dialect.name == "postgresql":
        with pytest.raises(LedgerError) as caught, ledger.write() as tx:
            tx.session.execute(sa.text("SELECT CAST(:it AS json)"), {"it": SECRET})
        assert caught.value.why == "invalid input syntax for type json"


def test_a_writer_that_waits_too_long(ledger):
    """A writer that waits too long gets an error that says how long it has waited."""
    statement = "PRAGMA busy_timeout = 50" if ledger.engine.dialect.name == "sqlite" else "SET lock_timeout = '50ms'"
    sa.event.listen(ledger.engine, "connect", lambda raw, _: raw.execute(statement))
    ledger.engine.dispose()
    with ledger.write() as tx:
        agent = tx.agents.create(name="owl", worktree_id="w")
    with ledger.write() as tx:
        tx.agents.update(agent.id, provider="codex")
        with pytest.raises(LedgerError, match="cannot be used") as caught, ledger.write() as other:
            other.agents.update(agent.id, provider="gemini")
    assert "10 seconds" in caught.value.why


def test_search_path_on_postgres(postgres_parameters):
    """The tables are in a schema of their own, whatever options the user's URL has; those apply as well."""
    options = r"-c search_path=public,\"odd\ name\" -c work_mem=7MB"
    ledger = Ledger.on_postgres({**postgres_parameters, "options": options}, "there")
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW search_path").scalar() == "goldentree,pg_temp"
        assert connection.exec_driver_sql("SHOW work_mem").scalar() == "7MB"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "10s"
        assert {*sa.inspect(connection).get_table_names(schema="public")} == set()
        assert len(sa.inspect(connection).get_table_names()) == 20
    ledger.engine.dispose()
    mine = engine.postgres_engine({**postgres_parameters, "options": "-c lock_timeout=3s", "application_name": "mine"})
    with mine.connect() as connection:
        assert connection.exec_driver_sql("SHOW application_name").scalar() == "mine"
    mine.dispose()


def test_a_schema_of_another_role_is_refused(postgres_parameters):
    """A role that made the schema beforehand could have functions and triggers in it, which would run as ours."""
    role = f"role_{secrets.token_hex(4)}"
    with psycopg.connect(**postgres_parameters, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role}; GRANT CREATE ON DATABASE {admin.info.dbname} TO {role}; SET ROLE {role}")
        admin.execute("CREATE SCHEMA goldentree")
        admin.execute(
            "CREATE FUNCTION goldentree.pg_advisory_xact_lock(int) RETURNS void LANGUAGE plpgsql "
            f"AS $$ BEGIN EXECUTE 'ALTER ROLE {role} SUPERUSER'; END $$"
        )
        admin.execute("RESET ROLE")
        for looks in (True, False):
            with pytest.raises(LedgerError) as caught:
                Ledger.on_postgres(postgres_parameters, "there", looks=looks)
            assert caught.value.what == f"the schema `goldentree` has objects of role `{role}`"
        assert caught.value.hint.endswith(f"""TO "{admin.info.user}"'""")
        assert admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [role]).fetchone() == (False,)
        admin.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    Ledger.on_postgres(postgres_parameters, "there").engine.dispose()


def test_no_ledger_can_be_opened(tmp_path, postgres_parameters):
    """The error for a ledger that cannot be opened has the reason and no password."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.on_sqlite(tmp_path / "file" / "ledger.db")
    (tmp_path / "garbage.db").write_bytes(b"no database" * 1000)
    with pytest.raises(LedgerError) as caught:
        Ledger.on_sqlite(tmp_path / "garbage.db")
    assert "not a database" in caught.value.why
    with pytest.raises(LedgerError) as caught:
        Ledger.on_postgres({**postgres_parameters, "password": SECRET}, "there")
    assert "password authentication failed" in caught.value.why
    assert SECRET not in f"{caught.value} {caught.value.why}"


def test_a_file_that_others_write(tmp_path):
    """Switching to WAL waits while another connection writes, which SQLite does not do itself."""
    path = tmp_path / "ledger.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor() as pool:
        opening = pool.submit(Ledger.on_sqlite, path)
        with pytest.raises(TimeoutError):
            opening.result(0.2)
        other.execute("COMMIT")
        ledger = opening.result(30)
    with ledger.read() as tx:
        assert tx.session.scalar(sa.text("PRAGMA journal_mode")) == "wal"
    ledger.engine.dispose()
    other.close()


def test_odd_paths_are_opened(tmp_path):
    """A ledger can be in a directory of any name, and be copied from there."""
    directory = tmp_path / "a b?c#d%20é&mode=ro"
    ledger = Ledger.on_sqlite(directory / "ledger.db")
    migrate.back_up(ledger.engine, directory / "copy.db")
    ledger.engine.dispose()
    assert {path.name for path in directory.iterdir()} >= {"ledger.db", "copy.db"}
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]


def test_ledger_works_without_wal(tmp_path):
    """Where SQLite cannot write ahead, the ledger works all the same, and a power cut does no more harm."""
    # This way of locking has no shared memory, as network file systems have none.
    file = f"file:{tmp_path / 'ledger.db'}?vfs=unix-dotfile"
    made = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(file, uri=True), poolclass=sa.QueuePool)
    sa.event.listen(made, "connect", engine._connected)
    sa.event.listen(made, "begin", engine.begin)
    ledger = Ledger._opened(made, "there", now)
    with ledger.write() as tx:
        tx.initiatives.create(name="a")
        assert tx.session.scalar(sa.text("PRAGMA journal_mode")) == "delete"
        assert tx.session.scalar(sa.text("PRAGMA synchronous")) == 2
    with ledger.read() as tx:
        assert [initiative.name for initiative in tx.initiatives.find_all()] == ["a"]
    made.dispose()


def test_a_file_that_is_replaced_while_open(tmp_path):
    """Writing or waiting in a deleted or replaced file is an error; SQLite itself would continue in it."""
    path = tmp_path / "ledger.db"
    ledger = Ledger.on_sqlite(path)
    for replace in (lambda: path.rename(tmp_path / "moved.db"), path.touch):
        replace()
        with pytest.raises(LedgerError, match="no longer the file"), ledger.write() as tx:
            tx.initiatives.create(name="lost silently")
        with pytest.raises(LedgerError, match="no longer the file"):
            conversations.listen(ledger, "absent")
    ledger.engine.dispose()


def test_two_that_wait_for_each_other(postgres_parameters):
    """PostgreSQL aborts one of two deadlocked writers with a hint to try again; the other commits."""
    ledger = Ledger.on_postgres({**postgres_parameters, "options": "-c deadlock_timeout=20ms"}, "there")
    with ledger.write() as tx:
        ids = [tx.initiatives.create(name=name).id for name in "ab"]
    both = threading.Barrier(2)

    def rename(name, ids):
        try:
            with ledger.write() as tx:
                tx.initiatives.update(ids[0], name=name)
                both.wait(30)
                tx.initiatives.update(ids[1], name=name)
        except LedgerError as error:
            return error.hint
        return name

    with ThreadPoolExecutor() as pool:
        told = {*pool.map(rename, ("c", "d"), (ids, ids[::-1]))}
    with ledger.read() as tx:
        assert {initiative.name for initiative in tx.initiatives.find_all()} | {"try again"} == told
    ledger.engine.dispose()
