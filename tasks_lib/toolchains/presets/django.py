"""Django: `manage.py migrate`."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_lib.toolchains.base import Command, Drift, Ledger, Toolchain
from tasks_lib.toolchains.sources import literals, read_python, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOT_OURS = {"node_modules", "site-packages", "venv", "env"}
"""Folders of other people's code."""


class Django(Toolchain):
    """A `manage.py` that is Django's."""

    name = "django"

    @classmethod
    def detect(cls, folder: Path) -> bool:
        """Look for Django's `manage.py`."""
        return "django" in read_text(folder / "manage.py")

    @property
    def ledger(self) -> Ledger:
        """Key a migration by its app and name, as it is unique only within its app."""
        return Ledger("django_migrations", "app || '.' || name")

    def migrations(self) -> dict[str, str]:
        """List those of every app in the repository, by app."""
        return {key: key for key, _ in self._files()}

    def drift(self, recorded: Iterable[str]) -> Drift:
        """
        Compare as every toolchain does, for the apps in the repository: the others come from installed packages.

        A migration that a squashed one replaces is not missing; its rows stay in the ledger.
        """
        files = dict(self._files())
        apps = {key.partition(".")[0] for key in files}
        replaced = {key for path in files.values() for key in _replaced(path)} - files.keys()
        return super().drift(key for key in recorded if key.partition(".")[0] in apps and key not in replaced)

    def migrate(self) -> Command:
        """Answer no questions: what Django would ask on the way destroys data."""
        argv = ("python3", "manage.py", "migrate", "--noinput")
        return Command(argv, self.folder, install="python3 -m pip install django")

    def generate(self, to: Path | None) -> None:
        """Generate nothing: in Django the models come first."""

    def _files(self) -> Iterator[tuple[str, Path]]:
        for parent, folders, _ in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in NOT_OURS)
            app = Path(parent)
            if (app / "migrations" / "__init__.py").is_file():
                label = _label(app)
                # Django's loader passes over names that begin with these.
                files = (path for path in (app / "migrations").glob("*.py") if path.name[0] not in "_~")
                yield from ((f"{label}.{path.stem}", path) for path in sorted(files))


def _label(app: Path) -> str:
    """Return an app's name in the ledger: its folder's, unless its configuration says otherwise."""
    return str(next(_class_literals(app / "apps.py", "label"), app.name))


def _replaced(migration: Path) -> Iterator[str]:
    return (f"{app}.{name}" for pairs in _class_literals(migration, "replaces") for app, name in pairs)


def _class_literals(path: Path, name: str) -> Iterator[Any]:
    """Yield what the classes in *path* assign to *name*."""
    classes = (node for node in read_python(path).body if isinstance(node, ast.ClassDef))
    return (values[name] for node in classes if name in (values := literals(node.body)))
