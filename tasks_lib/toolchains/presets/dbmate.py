"""dbmate: SQL files, and a dump of the schema."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from tasks_lib.toolchains.base import Command, MigrationHistory, Toolchain
from tasks_lib.toolchains.sources import read_text

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


class Dbmate(Toolchain):
    """`db/migrations/*.sql` with `-- migrate:up` in them."""

    name = "dbmate"
    files = ("db/migrations/*.sql",)

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for dbmate's marker in the migrations."""
        return any("-- migrate:up" in read_text(path) for path in folder.glob("db/migrations/*.sql"))

    @property
    def history(self) -> MigrationHistory:
        """Identify a migration by its version."""
        return MigrationHistory("schema_migrations", ("version",))

    def migrations(self) -> dict[str, str]:
        """List the files whose names begin with a version: digits, sorted as text."""
        paths = sorted(self.folder.glob("db/migrations/*.sql"))
        return {version[0]: path.stem for path in paths if (version := re.match(r"\d+", path.name))}

    def find_other_work(self, recorded: Collection[str], path: str) -> str:  # noqa: ARG002 - as in the base class
        """Look for settings of another folder or table, which dbmate reads from the environment and from `.env`."""
        named = [*os.environ, *re.findall(r"\w+", read_text(self.folder / ".env"))]
        found = next((name for name in ("DBMATE_MIGRATIONS_DIR", "DBMATE_MIGRATIONS_TABLE") if name in named), "")
        return f"{found} is set" if found else ""

    def migrate(self) -> Command:
        """Only migrate: `up` would create the database, and dumping the schema is left to `generate`."""
        return self._dbmate("--no-dump-schema", "migrate")

    def generate(self, to: Path | None) -> Command | None:
        """Dump the schema if the repository has a file for it."""
        target = to or self.folder / "db" / "schema.sql"
        return self._dbmate("--schema-file", str(target), "dump") if to or target.is_file() else None

    def _dbmate(self, *arguments: str) -> Command:
        return Command(("dbmate", *arguments), self.folder, install="npm install --save-dev dbmate")
