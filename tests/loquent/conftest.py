"""One whole account for all tests of this directory, which only read it or roll back their changes."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager
from datetime import datetime

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tasks_lib.loquent import account_blocks, schema
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.loquent.fixture import INPUTS

LABELS = """
SELECT id::text, email FROM "user"
UNION ALL SELECT id::text, slug FROM organization
UNION ALL SELECT member.id::text, 'member ' || email FROM member JOIN "user" ON "user".id = user_id
UNION ALL SELECT id::text, slug FROM subscription_tier
UNION ALL SELECT id::text, name FROM tag
UNION ALL SELECT id::text, number FROM phone_number
UNION ALL SELECT id::text, slug || CASE WHEN user_id IS NULL THEN ' of the system' ELSE '' END FROM ai_agent
UNION ALL SELECT id::text, slug FROM skill
UNION ALL SELECT id::text, email FROM contact
"""

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Account:
    """The account in one database, in a transaction that is rolled back."""

    def __init__(self, connection):
        self.connection = connection

    def run(self, *statements):
        for statement in statements:
            self.connection.execute(statement)

    def rows(self, query):
        return self.connection.execute(query).fetchall()

    def column(self, query):
        return [row[0] for row in self.rows(query)]

    def fill(self, blocks=BLOCKS, inputs=INPUTS):
        return account_blocks.make_missing(self.connection, blocks, inputs)

    def dry_run(self, blocks=BLOCKS, inputs=INPUTS):
        with self.sealed():
            return account_blocks.dry_run(self.connection, blocks, inputs)

    @contextmanager
    def sealed(self):
        """Let PostgreSQL refuse every write, also nextval()."""
        with self.connection.transaction():
            self.connection.execute("SET LOCAL transaction_read_only = on")
            yield

    def counts(self):
        """Return how many rows this transaction has written so far, by table."""
        return Counter(
            dict(self.rows("SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables"))
        )

    def contents(self, *, without=()):
        """
        Return every row of the account's tables, without random values.

        Ids become names; times become days from now, or the time since their contact was created.

        Args:
            without: Columns to leave out, as `table.column`.
        """
        labels = dict(self.rows(LABELS))
        [now] = self.column("SELECT now()")
        births = dict(self.rows("SELECT id::text, created_at FROM contact"))

        def plain(column, value, since):
            if isinstance(value, str) and UUID.fullmatch(value):
                return labels.get(value, "an id")
            if (column.endswith("_at") and value) or column.startswith("current_period"):
                passed = datetime.fromisoformat(value) - (since or now)
                return passed if since else round(passed.total_seconds() / 86400)
            return value

        hidden = {"task.number", "task.updated_at", *without}
        found = {}
        for table in schema.TABLES:
            query = sql.SQL("SELECT to_jsonb(found) FROM {} AS found").format(sql.Identifier(table))
            found[table] = sorted(
                str(
                    {
                        key: plain(key, value, births.get(row.get("contact_id")))
                        for key, value in row.items()
                        if f"{table}.{key}" not in hidden
                    }
                )
                for row in self.column(query)
            )
        return found


@pytest.fixture(scope="session")
def account_url(server_url, accounts):
    """Give the URL of a database with the whole account."""
    return make_conninfo(server_url, dbname=accounts(server_url, "loquent_account"))


@pytest.fixture
def account(account_url):
    """Give the whole account; changes are rolled back."""
    with psycopg.connect(account_url) as connection:
        yield Account(connection)
        connection.rollback()


@pytest.fixture
def empty(account):
    """Give the same database without the account, as after its migrations."""
    account.run("DELETE FROM organization", 'DELETE FROM "user"')
    return account
