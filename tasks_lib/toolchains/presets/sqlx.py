"""SQLx: `sqlx migrate run`, and the query data of `cargo sqlx prepare`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks_lib.toolchains.base import Command, MigrationHistory, Toolchain
from tasks_lib.toolchains.sources import hash_file, read_crates, read_toml

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = "cargo install sqlx-cli"


class SQLx(Toolchain):
    """`migrations/*.sql` beside a `Cargo.toml` that depends on sqlx."""

    name = "sqlx"
    files = ("migrations/*.sql",)

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for SQL migrations in a Rust project that uses sqlx."""
        return any(folder.glob("migrations/*.sql")) and "sqlx" in read_crates(folder / "Cargo.toml")

    @property
    def history(self) -> MigrationHistory:
        """Identify a migration by its version; a migration that failed half-way has a row without `success`."""
        return MigrationHistory("_sqlx_migrations", ("version", "success"), _find_key, "checksum")

    def migrations(self) -> dict[str, str]:
        """List `<version>_<what>.sql` and `.up.sql` by version."""
        return {key: path.name.removesuffix(".sql").removesuffix(".up") for key, path in self._files().items()}

    def read_checksums(self) -> dict[str, str]:
        """SQLx refuses a migration that was edited after it was applied."""
        return {key: "\\x" + hash_file(path, "sha384") for key, path in self._files().items()}

    def migrate(self) -> Command:
        """Apply pending migrations."""
        return Command(("sqlx", "migrate", "run"), self.folder, install=INSTALL)

    def generate(self, to: Path | None) -> Command | None:  # noqa: ARG002 - see below
        """Update the query data if the project has a `.sqlx`, the only folder in which sqlx looks for it."""
        if not (self.folder / ".sqlx").is_dir():
            return None
        workspace = ("--workspace",) if "workspace" in read_toml(self.folder / "Cargo.toml") else ()
        return Command(("cargo", "sqlx", "prepare", *workspace), self.folder, install=INSTALL)

    def _files(self) -> dict[str, Path]:
        """Return the files by version, a number that may have leading zeros."""
        found = {}
        for path in self.folder.glob("migrations/*.sql"):
            version = re.match(r"(\d+)_", path.name)
            if version and not path.name.endswith(".down.sql"):
                found[int(version[1])] = path
        return {str(version): found[version] for version in sorted(found)}


def _find_key(version: str, success: str) -> str | None:
    return version if success == "t" else None
