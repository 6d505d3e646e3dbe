"""SeaORM: a migration crate, and the entities that sea-orm-cli derives from the tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_lib.toolchains.base import Command, MigrationHistory, Toolchain
from tasks_lib.toolchains.sources import read_crates, read_text, read_toml

if TYPE_CHECKING:
    from collections.abc import Collection

ENTITIES = Path("src/bases/db/schemas")
LIBRARY = Path("migration/src/lib.rs")


class SeaORM(Toolchain):
    """`migration/Cargo.toml` that depends on sea-orm-migration."""

    name = "seaorm"
    files = ("migration/Cargo.toml",)

    # Cargo distinguishes the crates of two worktrees only by the modification times of their files.
    unapplied = (
        "`migration/src/lib.rs` may not list it; or worktrees share a target directory, and cargo ran the program of\n"
        "another branch: `touch migration/src/lib.rs` makes cargo compile it again"
    )

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for the migration crate."""
        return "sea-orm-migration" in read_crates(folder / "migration" / "Cargo.toml")

    @property
    def history(self) -> MigrationHistory:
        """Identify a migration by its file's name, like `DeriveMigrationName`."""
        return MigrationHistory("seaql_migrations", ("version",))

    def migrations(self) -> dict[str, str]:
        """List the crate's `m<date>_<time>_<what>.rs`."""
        names = sorted(path.stem for path in self.folder.glob("migration/src/m[0-9]*.rs"))
        return dict(zip(names, names, strict=True))

    def find_other_work(self, recorded: Collection[str], path: str) -> str:  # noqa: ARG002 - as in the base class
        """Look for migrations in `lib.rs`, which decides what is applied, that are not among the files."""
        source = re.sub(r"//.*|/\*[^*]*\*/", "", read_text(self.folder / LIBRARY))
        listed = re.findall(r"Box::new\(\s*(?:crate::|self::)?(\w+)::Migration\s*,?\s*\)", source)
        if sorted(listed) == sorted(self.migrations()) and len(listed) == source.count("Box::new("):
            return ""
        return f"{LIBRARY} does not list each file once"

    def migrate(self) -> Command:
        """
        Run the crate like `sea-orm-cli migrate up`, but without sea-orm-cli.

        Before 2.0, sea-orm-cli passes DATABASE_URL to its child as an argument and prints it with the password
        (sea-orm-cli/src/commands/migrate.rs).
        """
        manifest = "migration/Cargo.toml"
        # If the crate has several programs, for example one that inserts data, cargo needs the name.
        package = read_toml(self.folder / manifest).get("package", {})
        several = (self.folder / "migration" / "src" / "bin").is_dir() and "default-run" not in package
        chosen = ("--bin", str(package["name"])) if several and "name" in package else ()
        argv = ("cargo", "run", "--manifest-path", manifest, *chosen, "--", "up")
        # A backtrace would push the reason of a failure out of the last lines.
        return Command(argv, self.folder, install="see https://rustup.rs", env={"RUST_BACKTRACE": "0"})

    def generate(self, to: Path | None) -> Command | None:
        """Write the entities to *to*, by default to the project's folder of database code, if it exists."""
        target = to or self.folder / ENTITIES
        if not (to or target.parent.is_dir()):
            return None
        argv = ("sea-orm-cli", "generate", "entity", "--output-dir", str(target))
        return Command(argv, self.folder, install="cargo install sea-orm-cli")
