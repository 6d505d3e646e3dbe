"""SeaORM: files and commands here; `nox -s seaorm` compiles and runs the tool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tasks_lib.demo.twilio import playing
from tasks_lib.loquent import schema
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.toolchains.presets.seaorm import SeaORM
from tasks_lib.toolchains.sources import read_literals, read_python
from tests.toolchains.contract import SQL, Project, RealToolContract, ToolchainContract, execute, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tasks_lib.toolchains.base import Toolchain
    from tests.conftest import Repository

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
        manager.get_connection().execute_unprepared(r###"%s"###).await?;
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
        """Entities go to `src/bases/db/schemas`, or to the configured path."""
        argv = ("sea-orm-cli", "generate", "entity", "--output-dir")
        assert toolchain.generate(None).argv == (*argv, str(worktree / "src/bases/db/schemas"))
        assert toolchain.generate(worktree / "entity/src").argv == (*argv, str(worktree / "entity/src"))

    def test_names_the_program_if_there_are_several(self, worktree: Path, toolchain: Toolchain) -> None:
        """With a second program in the crate, cargo gets the crate's name, unless the crate sets `default-run`."""
        write(worktree, {"migration/src/bin/seed.rs": "fn main() {}"})
        assert toolchain.migrate().argv[4:] == ("--bin", "migration", "--", "up")
        manifest = worktree / "migration" / "Cargo.toml"
        manifest.write_text(manifest.read_text().replace("[package]", '[package]\ndefault-run = "migration"'))
        assert toolchain.migrate().argv[4:] == ("--", "up")

    def test_does_not_create_a_folder(self, worktree: Path, toolchain: Toolchain) -> None:
        """Nothing is generated in a project without `src/bases/db`."""
        (worktree / "src/bases/db/mod.rs").unlink()
        (worktree / "src/bases/db").rmdir()
        assert toolchain.generate(None) is None


# On a machine without a cargo cache, the first test compiles for up to nine minutes.
@pytest.mark.timeout(1800)
@pytest.mark.seaorm
class TestSeaORMForReal(SeaORMProject, RealToolContract):
    @pytest.fixture(autouse=True)
    def installed(self, cargo_tool: Callable[..., None]) -> None:
        cargo_tool("sea-orm-cli", "sea-orm-cli")

    def test_generates_entities_of_tables(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """Each table becomes an entity, except for the migration history."""
        execute(toolchain.migrate(), database, worktree)
        execute(toolchain.generate(None), database, worktree)
        made = {path.name for path in (worktree / "src/bases/db/schemas").iterdir()}
        assert {"contact.rs", "message.rs", "task.rs", "prelude.rs"} <= made
        assert "seaql_migrations.rs" not in made


KEYS_OF_STRIPE = """
        let key = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let values = ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"].map(|name| key(name).into());
        let sql = "INSERT INTO core_conf (stripe_secret_key, stripe_webhook_secret) VALUES ($1, $2)";
        let insert = sea_orm::Statement::from_sql_and_values(sea_orm::DbBackend::Postgres, sql, values);
        manager.get_connection().execute_raw(insert).await?;
        Ok(())
"""
"""What Loquent's migration of the plans does beside its SQL."""


class Loquent(SeaORMProject):
    """Loquent's own schema in a migration crate, and then one migration more."""

    files = {**SeaORMProject.files, ".gitignore": ".env*\nseed.env\ntarget\n", "tasks.py": "from tasks_lib import ns\n"}

    def __init__(self) -> None:
        versions = sorted((schema.BUNDLED.cwd / "versions").glob("m0*.py"))
        days = enumerate([path.stem.partition("_")[2] for path in versions], start=1)
        self.keys = (*(f"m202601{day:02}_090000_{what}" for day, what in days), "m20260201_090000_saved_view")
        self.sql = [*(_without_seaorms_own(read_literals(read_python(path).body)["SQL"]) for path in versions)]
        self.sql += ["CREATE TABLE saved_view (id uuid PRIMARY KEY, name text NOT NULL)"]

    def migration(self, number: int) -> tuple[str, str]:
        text = MIGRATION % self.sql[number]
        if "CREATE TABLE core_conf" in text:
            text = text.replace("        Ok(())\n", KEYS_OF_STRIPE)
        return f"migration/src/{self.keys[number]}.rs", text

    def lay_out(self, folder: Path, count: int | None = None) -> None:
        """Write the first *count* migrations, by default all, and the rest of the crate."""
        count = count or len(self.keys)
        write(folder, {**self.files, **dict(self.migration(number) for number in range(count))})
        self.write_migrator(folder, count)


def _without_seaorms_own(sql: str) -> str:
    """Leave out the migration history, which SeaORM creates itself, and its 297 invented rows."""
    return re.sub(r"CREATE TABLE seaql_migrations \(.*?\);", "", sql, flags=re.DOTALL).partition("-- 297 applied")[0]


@pytest.mark.seaorm
@pytest.mark.timeout(1800)
def test_builds_the_account_of_loquent(repository: Repository, cargo_tool: Callable[..., None]) -> None:
    """Cargo migrates an empty golden template, the account goes in, and a branch's clone gets only what is new."""
    cargo_tool("sea-orm-cli", "sea-orm-cli")
    loquent, golden = Loquent(), f"{repository.prefix}_latest"
    released = [*loquent.keys[:-1]]
    history = "SELECT version, applied_at FROM seaql_migrations ORDER BY version"
    loquent.lay_out(repository.path, len(released))
    # SeaORM's program reads the env file of its own accord.
    live = "STRIPE_SECRET_KEY=sk_live_of_the_app\nSTRIPE_WEBHOOK_SECRET=whsec_of_the_app\n"
    env = repository.path / ".env"
    env.write_text(f"DATABASE_URL='{repository.url}'\nWORKTREE_TEMPLATE_DB={golden}\n{live}")

    with playing() as twilio:
        shared = "TWILIO_WORKTREE_SUBACCOUNT"
        account = f"{shared}_SID={twilio.account.sid}\n{shared}_TOKEN={twilio.account.token}\n"
        keys = f"{account}TWILIO_API_URL={twilio.url}\nSTRIPE_SECRET_KEY=sk_test_sandbox\n"
        (repository.path / "seed.env").write_text(keys)
        built = repository.json("golden.build", timeout=1200)
        fingerprint = repository.json("golden.status")["fingerprint"]
        again = repository.json("golden.build")

    assert built["schema"] == "migrated by cargo run --manifest-path migration/Cargo.toml -- up"
    assert [(block["block"], block["state"]) for block in built["blocks"]] == [(block.name, "made") for block in BLOCKS]
    assert {block["state"] for block in again["blocks"]} == {"there"}
    assert repository.json("golden.status")["fingerprint"] == fingerprint
    assert {check["state"] for check in repository.json("golden.verify")["checks"]} == {"ok"}
    before = repository.sql(history, golden)
    assert [version for version, _ in before] == released
    assert repository.sql("SELECT stripe_secret_key, stripe_webhook_secret FROM core_conf", golden) == [
        ("sk_test_sandbox", None)
    ]

    repository.commit("Loquent")
    repository.git("switch", "--quiet", "--create", "views")
    loquent.lay_out(repository.path)
    repository.commit("Save views")
    repository.git("switch", "--quiet", "main")
    made = repository.json("worktree.create", "views", timeout=600)
    there = repository.worktree("views")

    assert repository.sql(history, made["database"])[:-1] == before, "what golden had was not applied again"
    status = repository.json("db.status", cwd=there)["migrations"]
    assert status == {"applied": list(loquent.keys), "pending": [], "missing": []}
    assert repository.sql(history, golden) == before
    entities = {path.name for path in (there / "src/bases/db/schemas").iterdir()}
    assert {"ai_agent.rs", "user.rs", "saved_view.rs"} <= entities
    later = there / "migration/src/m20260202_090000_later.rs"
    later.write_text("")
    assert repository.json("db.status", cwd=there)["migrations"]["pending"] == [later.stem]
