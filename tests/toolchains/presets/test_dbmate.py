"""dbmate, installed from npm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tasks_lib.toolchains.presets.dbmate import Dbmate
from tests.toolchains.contract import SQL, Project, RealToolContract, ToolchainContract, execute, write

if TYPE_CHECKING:
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain


class DbmateProject(Project):
    adapter = Dbmate
    keys = ("20240101000001", "20240101000002", "20240101000003")
    files = {"db/schema.sql": "-- to be dumped\n"}

    def migration(self, number: int) -> tuple[str, str]:
        return f"db/migrations/{self.keys[number]}_step.sql", f"-- migrate:up\n{SQL[number]};\n\n-- migrate:down\n"


class TestDbmate(DbmateProject, ToolchainContract):
    def test_sql_of_another_tool_is_not_detected(self, tmp_path: Path) -> None:
        """Files in `db/migrations` without dbmate's marker belong to another tool."""
        write(tmp_path, {"db/migrations/001_init.sql": "CREATE TABLE contact ()"})
        assert not Dbmate.detect(tmp_path)

    def test_migrations_have_versions_and_names(self, toolchain: Toolchain) -> None:
        """The migration history has versions; people see file names."""
        assert toolchain.migrations()["20240101000001"] == "20240101000001_step"

    def test_generates_only_where_the_schema_is_kept(self, worktree: Path, toolchain: Toolchain) -> None:
        """Without a schema file in the repository, the schema is dumped only to a configured path."""
        (worktree / "db/schema.sql").unlink()
        assert toolchain.generate(None) is None
        assert toolchain.generate(worktree / "schema.sql") is not None


class TestDbmateForReal(DbmateProject, RealToolContract):
    @pytest.fixture(autouse=True)
    def installed(self, worktree: Path, node_modules: Path) -> None:
        (worktree / "node_modules").symlink_to(node_modules)

    def test_only_generate_writes_the_schema(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """Migrating leaves the schema file alone; generating writes it."""
        execute(toolchain.migrate(), database, worktree)
        assert (worktree / "db/schema.sql").read_text() == "-- to be dumped\n"
        execute(toolchain.generate(None), database, worktree)
        assert "CREATE TABLE public.contact" in (worktree / "db/schema.sql").read_text()
