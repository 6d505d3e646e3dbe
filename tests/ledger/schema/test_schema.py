"""The schema as the databases have it: what they refuse, and that models and migrations agree."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tasks_lib.ledger.schema import Base
from tasks_lib.ledger.store.engine import writing
from tasks_lib.ledger.store.migrate import REVISIONS, configuration

# `ix_tasks_queue` is on an expression.
pytestmark = pytest.mark.filterwarnings("ignore:.*expression-based index")

CHOICES = [
    (table.name, column.name, check.name)
    for table in Base.metadata.sorted_tables
    for column in table.columns
    for check in table.constraints
    if isinstance(column.type, sa.Enum) and getattr(check, "_type_bound", False) and column.type.name in check.name
]


def description(connection):
    """Return all that a ledger's database knows of its tables: columns, keys, checks and indexes."""
    inspector = sa.inspect(connection)
    found = {}
    for table in set(inspector.get_table_names()) - {"alembic_version"}:
        found[table, "columns"] = {
            (row["name"], str(row["type"]), row["nullable"], row["default"]) for row in inspector.get_columns(table)
        }
        found[table, "key"] = inspector.get_pk_constraint(table)
        for kind in ("foreign_keys", "unique_constraints", "check_constraints"):
            found[table, kind] = {row["name"]: row for row in getattr(inspector, f"get_{kind}")(table)}
    indexes = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        if connection.dialect.name == "sqlite"
        else "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'goldentree'"
    )
    found["indexes"] = {name: sql for name, sql in connection.execute(sa.text(indexes)) if "alembic" not in name}
    return found


def test_models_and_migrations_agree(ledger):
    """What the migrations have made is what the models would make: also checks and expressions, not seen by Alembic."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with writing(ledger.engine).connect() as connection, connection.begin() as transaction:
        script = ScriptDirectory.from_config(configuration(connection))
        assert [step.revision for step in script.walk_revisions()] == [*reversed(REVISIONS)]
        options = {"include_object": lambda _, name, *__: name != "ix_tasks_queue"}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
        migrated = description(connection)
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
        assert migrated == description(connection)
        assert len(migrated["indexes"]) >= 25
        transaction.rollback()


def test_enums_are_held_by_named_checks(ledger, fill):
    """Columns of choices refuse other values; every check has a name, so that it can be dropped."""
    assert len(CHOICES) == 21
    with writing(ledger.engine).connect() as connection, connection.begin() as transaction:
        fill(connection)
        for table, column, check in CHOICES:
            with pytest.raises(sa.exc.IntegrityError, match=check), connection.begin_nested():
                connection.execute(sa.text(f"UPDATE {table} SET {column} = 'bogus'"))
        inspector = sa.inspect(connection)
        names = [check["name"] for table in Base.metadata.tables for check in inspector.get_check_constraints(table)]
        assert len(names) == len(CHOICES) + 5
        assert None not in names
        transaction.rollback()


def test_checks_refuse_wrong_rows(ledger, fill):
    """Agents cannot ask themselves, tasks cannot wait for themselves; lines and descriptions are checked."""
    with writing(ledger.engine).connect() as connection, connection.begin() as transaction:
        fill(connection)
        for check, change in {
            "ck_phase_dependencies_other": "UPDATE phase_dependencies SET depends_on_phase_id = phase_id",
            "ck_task_dependencies_other": "UPDATE task_dependencies SET depends_on_task_id = task_id",
            "ck_conversations_other": "UPDATE conversations SET to_agent_id = from_agent_id",
            "ck_review_comments_line_number": "UPDATE review_comments SET line_number = 0",
            "ck_errands_description": "UPDATE errands SET description = ''",
        }.items():
            with pytest.raises(sa.exc.IntegrityError, match=check), connection.begin_nested():
                connection.exec_driver_sql(change)
        connection.execute(sa.text("UPDATE errands SET description = :all"), {"all": "é" * 200})
        transaction.rollback()
