"""SeaORM: a migration crate, and the entities that sea-orm-cli derives from the tables."""

from __future__ import annotations

from pathlib import Path

from tasks_lib.toolchains.base import Command, Ledger, Toolchain
from tasks_lib.toolchains.sources import crates

ENTITIES = Path("src/bases/db/schemas")


class SeaORM(Toolchain):
    """`migration/Cargo.toml` that depends on sea-orm-migration."""

    name = "seaorm"

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for the migration crate."""
        return "sea-orm-migration" in crates(folder / "migration" / "Cargo.toml")

    @property
    def ledger(self) -> Ledger:
        """Key a migration by its file's name, as `DeriveMigrationName` does."""
        return Ledger("seaql_migrations", "version")

    def migrations(self) -> dict[str, str]:
        """List the crate's `m<date>_<time>_<what>.rs`."""
        names = sorted(path.stem for path in self.folder.glob("migration/src/m[0-9]*.rs"))
        return dict(zip(names, names, strict=True))

    def migrate(self) -> Command:
        """
        Run the crate, as `sea-orm-cli migrate up` does.

        Not through sea-orm-cli: before 2.0 it repeats DATABASE_URL in the arguments of its own
        child and prints it, password and all (sea-orm-cli/src/commands/migrate.rs).
        """
        argv = ("cargo", "run", "--manifest-path", "migration/Cargo.toml", "--", "up")
        # A backtrace would push the reason of a failure out of sight.
        return Command(argv, self.folder, install="see https://rustup.rs", env={"RUST_BACKTRACE": "0"})

    def generate(self, to: Path | None) -> Command | None:
        """Write the entities to *to*, by default where the project keeps its database code."""
        target = to or self.folder / ENTITIES
        if not (to or target.parent.is_dir()):
            return None
        argv = ("sea-orm-cli", "generate", "entity", "--output-dir", str(target))
        return Command(argv, self.folder, install="cargo install sea-orm-cli")
