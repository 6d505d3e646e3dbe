"""Prisma: `prisma migrate deploy` and the client that `prisma generate` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.toolchains.base import Command, MigrationHistory, Toolchain
from tasks_lib.toolchains.sources import hash_file

if TYPE_CHECKING:
    from pathlib import Path


class Prisma(Toolchain):
    """`prisma/schema.prisma`, or a schema split into the files of `prisma/schema/`."""

    name = "prisma"
    files = ("prisma/schema.prisma", "prisma/schema/*.prisma")

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for a Prisma schema."""
        return (folder / "prisma" / "schema.prisma").is_file() or any(folder.glob("prisma/schema/*.prisma"))

    @property
    def history(self) -> MigrationHistory:
        """Ignore migrations that failed or were rolled back; their rows stay in the table."""
        return MigrationHistory(
            "_prisma_migrations", "migration_name", "finished_at IS NOT NULL AND rolled_back_at IS NULL", "checksum"
        )

    def migrations(self) -> dict[str, str]:
        """List the folders that contain a `migration.sql`."""
        names = sorted(path.parent.name for path in self.folder.glob("prisma/migrations/*/migration.sql"))
        return dict(zip(names, names, strict=True))

    def read_checksums(self) -> dict[str, str]:
        """Prisma warns of a migration that was edited after it was applied."""
        folder = self.folder / "prisma" / "migrations"
        return {name: hash_file(folder / name / "migration.sql", "sha256") for name in self.migrations()}

    def migrate(self) -> Command:
        """Use `deploy`, which unlike `migrate dev` never resets a database."""
        return self._prisma("migrate", "deploy")

    def generate(self, to: Path | None) -> Command:  # noqa: ARG002 - see below
        """Generate the client, to the path that the schema names."""
        return self._prisma("generate")

    def _prisma(self, *arguments: str) -> Command:
        return Command(("prisma", *arguments), self.folder, install="npm install --save-dev prisma")
