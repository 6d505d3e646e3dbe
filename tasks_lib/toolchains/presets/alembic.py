"""
Alembic, with sqlacodegen where the project uses it.

Its migration history has only the heads (https://alembic.sqlalchemy.org/en/latest/branches.html); which revisions are
applied follows from their graph.
"""

from __future__ import annotations

import ast
import os
import re
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks_lib.errors import ToolchainError
from tasks_lib.toolchains.base import Command, Drift, MigrationHistory, Toolchain, quote_identifier
from tasks_lib.toolchains.presets import sqlacodegen
from tasks_lib.toolchains.revisions import Revision, find_ancestors, read_revisions, sort_revisions
from tasks_lib.toolchains.sources import read_python, read_text, read_toml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

SEPARATORS = {"os": os.pathsep, "newline": "\n", ":": ":", ";": ";"}
"""Values of `path_separator`; by default, lists are split at spaces and commas."""


class Alembic(Toolchain):
    """`alembic.ini` or `[tool.alembic]` in `pyproject.toml`."""

    name = "alembic"
    files = ("alembic.ini", "pyproject.toml")

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for Alembic's configuration."""
        return bool(_options(folder))

    @property
    def history(self) -> MigrationHistory:
        """Read the table's name from `env.py`, in which a project may change it."""
        arguments = {
            node.arg: node.value.value
            for node in ast.walk(read_python(self._scripts / "env.py"))
            if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant)
        }
        names = arguments.get("version_table_schema"), arguments.get("version_table", "alembic_version")
        return MigrationHistory(quote_identifier(*(str(name) for name in names if name)), ("version_num",))

    def migrations(self) -> dict[str, str]:
        """Order the version files from the base to the heads."""
        revisions = self._revisions()
        return {key: revisions[key].name for key in sort_revisions(revisions)}

    def drift(self, recorded: Iterable[str]) -> Drift:
        """
        Count the *recorded* heads and their ancestors as applied.

        If the branch lacks a head of the database, nothing is pending: that head's ancestors are unknown, and Alembic
        refuses to migrate.
        """
        found = super().drift(find_ancestors(self._revisions(), recorded))
        return replace(found, pending=()) if found.missing else found

    def find_other_work(self, recorded: Collection[str], path: str) -> str:  # noqa: ARG002 - as in the base class
        """Look for an `env.py` that migrates several databases, or a schema for each customer."""
        if "databases" in _options(self.folder):
            return "alembic.ini names several databases"
        computed = [
            node.arg
            for node in ast.walk(read_python(self._scripts / "env.py"))
            if isinstance(node, ast.keyword)
            and node.arg in ("version_table", "version_table_schema")
            and not isinstance(node.value, ast.Constant)
        ]
        return f"env.py computes {computed[0]}" if computed else ""

    def migrate(self) -> Command:
        """Upgrade to all heads: a branch without its merge revision has two."""
        # Put the worktree's modules first: those of the main worktree may be installed editable beside `alembic`.
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        install = "python3 -m pip install alembic"
        return Command(("alembic", "upgrade", "heads"), self.folder, install=install, env={"PYTHONPATH": path})

    def generate(self, to: Path | None) -> Command | None:
        """Run sqlacodegen if the project uses it, by default into a file beside Alembic's folder."""
        return sqlacodegen.command(self.folder, to, default=self._scripts.parent / "models_generated.py")

    @property
    def _scripts(self) -> Path:
        return self._path(_options(self.folder).get("script_location", "alembic"))

    def _path(self, location: str) -> Path:
        # `package:folder` is a folder in a Python package.
        package, colon, inside = location.replace("%(here)s", ".").partition(":")
        return self.folder / (f"{package.replace('.', '/')}/{inside}" if colon else package)

    def _revisions(self) -> dict[str, Revision]:
        options = _options(self.folder)
        locations = options.get("version_locations") or [f"{options.get('script_location', 'alembic')}/versions"]
        if isinstance(locations, str):
            separator = options.get("path_separator") or options.get("version_path_separator")
            locations = re.split(SEPARATORS.get(str(separator), r"[\s,]+"), locations)
        pattern = "**/*.py" if options.get("recursive_version_locations") in ("true", True) else "*.py"
        folders = [self._path(location.strip()) for location in locations if location.strip()]
        return read_revisions(path for folder in folders for path in sorted(folder.glob(pattern)))


def _options(folder: Path) -> dict[str, Any]:
    """Return Alembic's options in *folder*; those of `alembic.ini` take precedence, as in Alembic."""
    parser = ConfigParser(interpolation=None)
    path = folder / "alembic.ini"
    try:
        parser.read_string(read_text(path))
    except ConfigError as error:
        raise ToolchainError(f"`{path}` cannot be read", why=str(error)) from None
    project = read_toml(folder / "pyproject.toml").get("tool", {}).get("alembic", {})
    return {**project, **(parser["alembic"] if parser.has_section("alembic") else {})}
