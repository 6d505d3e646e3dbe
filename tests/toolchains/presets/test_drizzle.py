"""Drizzle, the real drizzle-kit from npm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tasks_lib.toolchains.presets.drizzle import Drizzle
from tests.toolchains.contract import SQL, Project, RealToolContract, ToolchainContract, write

if TYPE_CHECKING:
    from pathlib import Path


CONFIG = """
import { defineConfig } from "drizzle-kit";
// out: "./somewhere-else",
export default defineConfig({
  dialect: "postgresql",
  schema: "./src/schema/*.ts",
  out: "./db/drizzle",
  dbCredentials: { url: process.env.DATABASE_URL! },
});
"""


class DrizzleProject(Project):
    adapter = Drizzle
    keys = ("1704067200001", "1704067200002", "1704067200003")
    files = {"drizzle.config.ts": CONFIG}
    refusal = "hide the reason"

    def migration(self, number: int) -> tuple[str, str]:
        return f"db/drizzle/000{number}_step.sql", SQL[number]

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        self.write_journal(folder, 3)

    def write_journal(self, folder: Path, count: int) -> None:
        entries = [
            {"idx": number, "version": "7", "when": int(self.keys[number]), "tag": f"000{number}_step"}
            for number in range(count)
        ]
        journal = {"version": "7", "dialect": "postgresql", "entries": entries}
        write(folder, {"db/drizzle/meta/_journal.json": json.dumps(journal)})

    def without_the_last(self, worktree: Path) -> None:
        self.write_journal(worktree, 2)


class TestDrizzle(DrizzleProject, ToolchainContract):
    def test_project_on_sqlite_is_not_detected(self, tmp_path: Path) -> None:
        """Only Drizzle projects on PostgreSQL are detected."""
        write(tmp_path, {"drizzle.config.ts": CONFIG.replace('"postgresql"', '"sqlite"')})
        assert not Drizzle.detect(tmp_path)

    def test_history_table_may_be_renamed(self, tmp_path: Path) -> None:
        """The table's name is read from the configuration."""
        options = 'dialect: "postgresql", migrations: { table: "applied", schema: "public" }, schema: "./schema.ts"'
        write(tmp_path, {"drizzle.config.js": f"export default {{ {options} }}"})
        assert Drizzle(tmp_path).history.table == '"public"."applied"'


class TestDrizzleForReal(DrizzleProject, RealToolContract):
    @pytest.fixture(autouse=True)
    def installed(self, worktree: Path, node_modules: Path) -> None:
        (worktree / "node_modules").symlink_to(node_modules)
