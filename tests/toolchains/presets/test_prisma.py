"""Prisma: its engines come from a host of their own, so here are files and commands, and its table by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from tasks_lib.toolchains.presets.prisma import Prisma
from tests.toolchains.contract import SQL, ToolchainContract, recorded, write

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain

# prisma-engines, schema-engine/connectors/sql-schema-connector, `create_migrations_table`
TABLE = """
CREATE TABLE _prisma_migrations (
    id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
    migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0
)
"""


class TestPrisma(ToolchainContract):
    adapter = Prisma
    keys = ("20240101000001_step", "20240101000002_step", "20240101000003_step")
    files = {"prisma/schema.prisma": 'datasource db {\n  provider = "postgresql"\n}\n'}

    def migration(self, number: int) -> tuple[str, str]:
        return f"prisma/migrations/{self.keys[number]}/migration.sql", SQL[number]

    def test_a_schema_in_several_files(self, tmp_path: Path) -> None:
        """`prisma/schema/` holds a schema that was split."""
        write(tmp_path, {"prisma/schema/contact.prisma": ""})
        assert Prisma.detect(tmp_path)

    def test_migrations_are_only_deployed(self, toolchain: Toolchain) -> None:
        """Migrations are deployed, never developed, and the client is generated."""
        assert toolchain.migrate().argv == ("prisma", "migrate", "deploy")
        assert toolchain.generate(None).argv == ("prisma", "generate")

    def test_failed_migrations_are_not_applied(self, toolchain: Toolchain, database: str) -> None:
        """Neither an unfinished nor a rolled-back migration counts as applied."""
        with psycopg.connect(database) as connection:
            connection.execute(TABLE)
            for key, finished, rolled_back in zip(
                self.keys, ("now()", "NULL", "now()"), ("NULL", "NULL", "now()"), strict=True
            ):
                connection.execute(
                    "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, rolled_back_at)"
                    f" VALUES ('{key}', '', '{key}', {finished}, {rolled_back})"
                )
        assert toolchain.drift(recorded(toolchain, database)).applied == (self.keys[0],)
