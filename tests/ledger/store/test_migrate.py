"""The way of a ledger through the revisions: of many at once, of one with data, of one that is cut off."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks_lib.errors import LedgerError, SchemaTooNewError
from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.store import migrate
from tasks_lib.ledger.store.engine import postgres_engine, reading, sqlite_engine, writing

FEBRUARY = {
    "tasks": {"type": "checkpoint:decision", "status": "pending_approval", "phase_id": "phases-2"},
    "agents": {"status": "running"},
}


@pytest.fixture
def old(nowhere, fill):
    """Give the engine of a ledger at revision 0001 with rows in every table."""
    engine = sqlite_engine(nowhere) if isinstance(nowhere, Path) else postgres_engine(nowhere)
    with migrate._alone(engine) as connection:
        migrate._run(connection, "upgrade", "0001")
        fill(connection, **FEBRUARY)
        connection.exec_driver_sql("UPDATE agents SET status = 'waiting_for_input'")  # two hold the same task
    yield engine
    engine.dispose()


def opened(place):
    """Open the ledger as its users do."""
    return Ledger.on_sqlite(place) if isinstance(place, Path) else Ledger.on_postgres(place, "there")


def rows(engine):
    """Return all rows of a ledger by table and key, and its revision."""
    with reading(engine).connect() as connection:
        found = {}
        for table in sa.inspect(connection).get_table_names():
            for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").mappings():
                found[table, next(iter(row.values()))] = dict(row)
        return found


def test_many_begin_at_once(nowhere, crowd):
    """Twelve processes that find no ledger make one, once; who comes later does not even load Alembic."""
    began = "import sys\nopened()\nresult = 'alembic' in sys.modules"
    assert len(crowd(nowhere, 12, began)) == 12
    assert crowd(nowhere, 1, began) == [False]
    engine = sqlite_engine(nowhere) if isinstance(nowhere, Path) else postgres_engine(nowhere)
    assert rows(engine) == {("alembic_version", "0002"): {"version_num": "0002"}}
    engine.dispose()


def test_upgrade_keeps_every_row(old, nowhere):
    """What 0001 holds is all there in 0002, in its words; a copy was made first, for the owner alone. And back."""
    before = rows(old)
    assert len(before) == 11 * 2 + 3 + 1
    migrate.ensure_schema(old)
    after = rows(old)
    assert before.keys() - {("alembic_version", "0001")} == after.keys() - {("alembic_version", "0002")}
    gone = {"merge_requires_approval", "requires_approval"}
    told = {"checkpoint:decision": "auto", "pending_approval": "pending"}
    changed = {"agents-1": {"status": "idle"}}  # of two holders of a task only the last one stays
    for (table, key), row in before.items():
        if table != "alembic_version":
            kept = {name: told.get(str(value), value) for name, value in row.items() if name not in gone}
            kept |= changed.get(key, {})
            assert kept.items() <= after[table, key].items()
    assert {row["retry_count"] for (table, _), row in after.items() if table == "tasks"} == {0}
    if isinstance(nowhere, Path):
        with old.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        backup = nowhere.with_name("ledger.0001.bak")
        assert backup.stat().st_mode & 0o777 == 0o600
        copy = sqlite_engine(backup)
        assert rows(copy) == before
        copy.dispose()

    migrate.downgrade(old, "0001")
    back = rows(old)
    assert back.keys() == before.keys()
    assert back["tasks", "tasks-1"]["status"] == "pending"
    migrate.ensure_schema(old)
    assert rows(old) == after
    migrate.downgrade(old, "base")
    assert rows(old) == {}
    migrate.ensure_schema(old)


def test_upgrade_that_fails_changes_nothing(old, nowhere):
    """A migration that fails at its end leaves the ledger as it was, and works once the cause is gone."""
    with writing(old).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE review_comments (id TEXT)")
    before = rows(old)
    for _ in range(2):
        with pytest.raises(LedgerError, match="review_comments"):
            opened(nowhere)
        assert rows(old) == before
    if isinstance(nowhere, Path):
        assert [*nowhere.parent.glob("*.bak")] == []  # else each attempt would leave one
    with writing(old).begin() as connection:
        connection.exec_driver_sql("DROP TABLE review_comments")
    migrate.ensure_schema(old)
    assert rows(old).keys() >= before.keys() - {("alembic_version", "0001")}


def test_upgrade_that_is_killed_changes_nothing(old, nowhere, crowd):
    """Processes that are killed in the middle of a migration leave it to the next one."""
    before = rows(old)
    old.dispose()
    killed = """
import os, signal, sqlalchemy as sa
moment = ("pending_approval", "CREATE TABLE chat_messages", "UPDATE alembic_version", "never")[number]

@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def kill(connection, cursor, statement, *_):
    if moment in statement:
        os.kill(os.getpid(), signal.SIGKILL)

opened()
"""
    assert crowd(nowhere, 3, killed) == [None, None, None]
    assert rows(old) == before
    crowd(nowhere, 4, killed + "result = 'done'")
    assert ("alembic_version", "0002") in rows(old)
    assert len(rows(old)) == len(before)


def test_newer_ledger_is_refused(ledger):
    """A ledger of a newer version is not changed, and the error has a hint."""
    with writing(ledger.engine).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(SchemaTooNewError, match="0099") as caught:
        migrate.ensure_schema(ledger.engine)
    assert "pip install --upgrade" in caught.value.hint
    assert rows(ledger.engine) == {("alembic_version", "0099"): {"version_num": "0099"}}


def test_rows_that_refer_to_nothing_stop_a_migration(tmp_path, fill):
    """A migration that would leave a row without what it refers to is undone."""
    engine = sqlite_engine(tmp_path / "ledger.db")
    with migrate._alone(engine) as connection:
        migrate._run(connection, "upgrade", "0001")
        fill(connection)
    with sqlite3.connect(tmp_path / "ledger.db") as raw:  # by hand, without foreign keys
        raw.execute("DELETE FROM tasks WHERE id = 'tasks-1'")
    raw.close()
    before = rows(engine)
    with pytest.raises(LedgerError, match="refer to nothing"):
        migrate.ensure_schema(engine)
    assert rows(engine) == before
    engine.dispose()


def test_backup_never_overwrites_files(sqlite_ledger, tmp_path):
    """During writes a copy is complete and readable only by its owner; no file is overwritten."""
    with sqlite_ledger.write() as tx:
        kept = tx.initiatives.create(name="kept")
    target = tmp_path / "copy.db"
    with sqlite_ledger.write() as tx:
        tx.initiatives.create(name="not committed")
        migrate.back_up(sqlite_ledger.engine, target)
    assert target.stat().st_mode & 0o777 == 0o600
    copy = Ledger.on_sqlite(target)
    with copy.read() as tx:
        assert tx.initiatives.find_all() == [kept]
    copy.engine.dispose()
    was = target.read_bytes()
    with pytest.raises(LedgerError, match="File exists"):
        migrate.back_up(sqlite_ledger.engine, target)
    assert target.read_bytes() == was
    with pytest.raises(LedgerError, match="cannot be written"):
        migrate.back_up(sqlite_ledger.engine, tmp_path / "nowhere" / "copy.db")
    unsayable = tmp_path / "\udcff.db"
    with pytest.raises(LedgerError, match="cannot be copied"):
        migrate.back_up(sqlite_ledger.engine, unsayable)
    assert not unsayable.exists()
