"""SeaORM: a migration crate, and the entities that sea-orm-cli derives from the tables."""

from __future__ import annotations

from pathlib import Path

from tasks_lib.toolchains.base import Command, Ledger, Toolchain
from tasks_lib.toolchains.sources import crates, read_toml

ENTITIES = Path("src/bases/db/schemas")


class SeaORM(Toolchain):
    """`migration/Cargo.toml` that depends on sea-orm-migration."""

    name = "seaorm"

    # Cargo tells the crates of two worktrees apart by the times of their files alone.
    unapplied = (
        "`migration/src/lib.rs` may not list it; or, where worktrees share a target directory, cargo took the program\n"
        "of another branch for this one's: `touch migration/src/lib.rs` makes it compile anew"
    )

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
        manifest = "migration/Cargo.toml"
        # Beside another program, a seed's say, cargo asks which one is meant.
        package = read_toml(self.folder / manifest).get("package", {})
        several = (self.folder / "migration" / "src" / "bin").is_dir() and "default-run" not in package
        chosen = ("--bin", str(package["name"])) if several and "name" in package else ()
        argv = ("cargo", "run", "--manifest-path", manifest, *chosen, "--", "up")
        # A backtrace would push the reason of a failure out of sight.
        return Command(argv, self.folder, install="see https://rustup.rs", env={"RUST_BACKTRACE": "0"})

    def generate(self, to: Path | None) -> Command | None:
        """Write the entities to *to*, by default where the project keeps its database code."""
        target = to or self.folder / ENTITIES
        if not (to or target.parent.is_dir()):
            return None
        argv = ("sea-orm-cli", "generate", "entity", "--output-dir", str(target))
        return Command(argv, self.folder, install="cargo install sea-orm-cli")
