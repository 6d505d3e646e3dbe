"""SeaORM: files and commands always; the real thing, compiled, in `nox -s seaorm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tasks_lib.toolchains.seaorm import SeaORM
from tests.toolchains.contract import SQL, Project, RealToolContract, ToolchainContract, execute, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain

CARGO = """
[package]
name = "migration"
version = "0.1.0"
edition = "2021"

[workspace]

[dependencies]
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
sea-orm-migration = { version = "2", features = ["runtime-tokio-rustls", "sqlx-postgres"] }
"""

MAIN = """
use sea_orm_migration::prelude::*;

#[tokio::main]
async fn main() {
    cli::run_cli(migration::Migrator).await;
}
"""

LIB = """
pub use sea_orm_migration::prelude::*;

%(modules)s

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![%(migrations)s]
    }
}
"""

MIGRATION = """
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("%s").await?;
        Ok(())
    }
}
"""


class SeaORMProject(Project):
    adapter = SeaORM
    keys = ("m20240101_000001_contact", "m20240101_000002_message", "m20240101_000003_task")
    files = {"migration/Cargo.toml": CARGO, "migration/src/main.rs": MAIN, "src/bases/db/mod.rs": ""}

    def migration(self, number: int) -> tuple[str, str]:
        return f"migration/src/{self.keys[number]}.rs", MIGRATION % SQL[number]

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        self.write_migrator(folder, 3)

    def write_migrator(self, folder: Path, count: int) -> None:
        keys = self.keys[:count]
        migrations = ", ".join(f"Box::new({key}::Migration)" for key in keys)
        modules = "\n".join(f"mod {key};" for key in keys)
        write(folder, {"migration/src/lib.rs": LIB % {"modules": modules, "migrations": migrations}})

    def without_the_last(self, worktree: Path) -> None:
        (worktree / self.migration(2)[0]).unlink()
        self.write_migrator(worktree, 2)


class TestSeaORM(SeaORMProject, ToolchainContract):
    def test_generates_where_the_database_code_is(self, worktree: Path, toolchain: Toolchain) -> None:
        """Entities go to `src/bases/db/schemas`, or to the path that is named."""
        argv = ("sea-orm-cli", "generate", "entity", "--output-dir")
        assert toolchain.generate(None).argv == (*argv, str(worktree / "src/bases/db/schemas"))
        assert toolchain.generate(worktree / "entity/src").argv == (*argv, str(worktree / "entity/src"))

    def test_does_not_invent_a_folder(self, worktree: Path, toolchain: Toolchain) -> None:
        """A project without `src/bases/db` gets no such folder."""
        (worktree / "src/bases/db/mod.rs").unlink()
        (worktree / "src/bases/db").rmdir()
        assert toolchain.generate(None) is None


@pytest.mark.seaorm
class TestSeaORMForReal(SeaORMProject, RealToolContract):
    @pytest.fixture(autouse=True)
    def installed(self, cargo_tool: Callable[..., None]) -> None:
        cargo_tool("sea-orm-cli", "sea-orm-cli")

    def test_generates_entities(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """Each table becomes an entity, the ledger's own does not."""
        execute(toolchain.migrate(), database, worktree)
        execute(toolchain.generate(None), database, worktree)
        made = {path.name for path in (worktree / "src/bases/db/schemas").iterdir()}
        assert {"contact.rs", "message.rs", "task.rs", "prelude.rs"} <= made
        assert "seaql_migrations.rs" not in made
