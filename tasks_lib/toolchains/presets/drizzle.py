"""
Drizzle: `drizzle-kit migrate`.

No code is generated: `drizzle-kit generate` writes migrations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks_lib.toolchains.base import Command, MigrationHistory, Toolchain, quote_identifier
from tasks_lib.toolchains.sources import hash_file, read_json, read_text

if TYPE_CHECKING:
    from pathlib import Path


class Drizzle(Toolchain):
    """`drizzle.config.ts`, or `.js`, `.mjs`, ..., for PostgreSQL."""

    name = "drizzle"
    files = ("drizzle.config.*",)

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for drizzle-kit's configuration, unless it is for another database."""
        config = _config(folder)
        return bool(config) and _option(config, "dialect", "postgresql") == "postgresql"

    @property
    def history(self) -> MigrationHistory:
        """Identify a migration by its generation time; the table has only that and a hash."""
        section = re.search(r"\bmigrations\s*:\s*\{[^}]*\}", _config(self.folder))
        options = section[0] if section else ""
        names = _option(options, "schema", "drizzle"), _option(options, "table", "__drizzle_migrations")
        return MigrationHistory(quote_identifier(*names), ("created_at",), checksum="hash")

    def migrations(self) -> dict[str, str]:
        """Read the journal, whose `when` is `created_at` in milliseconds since 1970."""
        journal = read_json(self._out / "meta" / "_journal.json")
        return {str(entry["when"]): entry["tag"] for entry in (journal or {}).get("entries", [])}

    def read_checksums(self) -> dict[str, str]:
        """Hash the files as drizzle-orm's `readMigrationFiles` does."""
        return {key: hash_file(self._out / f"{tag}.sql", "sha256") for key, tag in self.migrations().items()}

    @property
    def _out(self) -> Path:
        return self.folder / _option(_config(self.folder), "out", "drizzle")

    def migrate(self) -> Command:
        """Set `CI`, because drizzle-kit otherwise asks questions."""
        return Command(
            ("drizzle-kit", "migrate"),
            self.folder,
            install="npm install --save-dev drizzle-kit",
            env={"CI": "1"},
            remark="drizzle-kit 0.31.10 and later hide the reason (drizzle-orm issue 5601); see the server's log",
        )

    def generate(self, to: Path | None) -> None:
        """Generate nothing: Drizzle's schema is written by hand."""


def _config(folder: Path) -> str:
    """Return the text of the configuration without lines that are commented out."""
    text = "".join(read_text(path) for path in sorted(folder.glob("drizzle.config.*")))
    return re.sub(r"(?m)^\s*//.*$", "", text)


def _option(config: str, key: str, default: str) -> str:
    """Return the string that follows *key* in JavaScript source, without running it."""
    found = re.search(rf"\b{key}\s*:\s*[\"'`]([^\"'`$]+)[\"'`]", config)
    return found[1] if found else default
