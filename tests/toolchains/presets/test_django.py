"""Django, the real one."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks_lib.toolchains.presets.django import Django
from tests.toolchains.contract import (
    SQL,
    Project,
    RealToolContract,
    ToolchainContract,
    environment_for,
    execute,
    recorded,
    write,
)

if TYPE_CHECKING:
    from tasks_lib.toolchains.base import Toolchain

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
execute_from_command_line(sys.argv)
"""

SETTINGS = """
import os
from urllib.parse import unquote, urlsplit
at = urlsplit(os.environ["DATABASE_URL"])
SECRET_KEY = "for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "crm"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": at.path[1:], "USER": at.username,
    "PASSWORD": unquote(at.password), "HOST": at.hostname, "PORT": at.port,
}}
"""


class DjangoProject(Project):
    adapter = Django
    keys = ("crm.0001_step", "crm.0002_step", "crm.0003_step")
    files = {"manage.py": MANAGE, "site_settings.py": SETTINGS, "crm/__init__.py": "", "crm/migrations/__init__.py": ""}

    def migration(self, number: int) -> tuple[str, str]:
        parents = [("crm", f"000{number}_step")] if number else []
        return f"crm/migrations/000{number + 1}_step.py", (
            "from django.db import migrations\n\n"
            "class Migration(migrations.Migration):\n"
            f"    dependencies = {parents}\n"
            f"    operations = [migrations.RunSQL({SQL[number]!r})]\n"
        )


class TestDjango(DjangoProject, ToolchainContract):
    def test_installed_apps_are_not_missing(self, toolchain: Toolchain) -> None:
        """Migrations of apps outside the repository are not missing."""
        assert toolchain.drift([*self.keys, "auth.0001_initial"]).missing == ()

    def test_label_of_an_app_is_used(self, worktree: Path, toolchain: Toolchain) -> None:
        """An app that gives itself a label is known by it."""
        apps = 'from django.apps import AppConfig\n\nclass Crm(AppConfig):\n    name = "crm"\n    label = "customers"\n'
        write(worktree, {"crm/apps.py": apps})
        assert next(iter(toolchain.migrations())) == "customers.0001_step"

    def test_virtual_environments_are_skipped(self, worktree: Path, toolchain: Toolchain) -> None:
        """Apps inside a virtual environment are not the repository's."""
        for place in (".venv/lib/shop", "venv/lib/shop", "lib/site-packages/shop"):
            write(worktree, {f"{place}/migrations/__init__.py": "", f"{place}/migrations/0001_initial.py": ""})
        assert list(toolchain.migrations()) == list(self.keys)

    def test_replaced_migrations_are_not_missing(self, worktree: Path, toolchain: Toolchain) -> None:
        """What a squashed migration replaces is not missing once its files are gone."""
        write(
            worktree,
            {"crm/migrations/0001_squashed.py": f"class Migration:\n    replaces = {[('crm', '0001_step')]}\n"},
        )
        (worktree / self.migration(0)[0]).unlink()
        assert toolchain.drift(self.keys).missing == ()


class TestDjangoForReal(DjangoProject, RealToolContract):
    @pytest.fixture
    def worktree(self, tmp_path: Path) -> Path:
        """Give the worktree an environment of its own, with the packages of this one."""
        worktree = tmp_path / "worktree"
        self.lay_out(worktree)
        venv.create(worktree / ".venv", symlinks=True)
        for package in Path(sysconfig.get_path("purelib")).iterdir():
            if package.suffix != ".pth":
                (packages_of(worktree) / package.name).symlink_to(package)
        return worktree

    def test_migrations_of_packages_are_work(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """A newer package with a migration, a new app, and code that runs after each migrate are not skipped."""
        path = environment_for(database, worktree)["PATH"]
        execute(toolchain.migrate(), database, worktree)
        keys = recorded(toolchain, database)

        newer = {key: None for key in keys if key != "auth.0012_alter_user_first_name_max_length"}
        assert "`django.contrib.auth` has 0012_" in toolchain.find_reason_to_migrate(newer, path)
        write(worktree, {"more_settings.py": 'INSTALLED_APPS = ["django.contrib.sessions"]\n'})
        assert toolchain.find_reason_to_migrate(keys, path) == "`django.contrib.sessions` has 0001_initial"
        write(worktree, {"more_settings.py": 'MIGRATION_MODULES = {"auth": "crm.auth"}\n'})
        assert toolchain.find_reason_to_migrate(keys, path) == "the code uses MIGRATION_MODULES"
        write(worktree, {"more_settings.py": "post_migrate.connect(print)\n"})
        assert toolchain.find_reason_to_migrate(keys, path) == "the code uses post_migrate"

    def test_packages_that_are_not_found_are_work(self, worktree: Path, toolchain: Toolchain, database: str) -> None:
        """Without an environment, and with packages in another folder, nothing is known about their migrations."""
        execute(toolchain.migrate(), database, worktree)
        keys = recorded(toolchain, database)

        assert toolchain.find_reason_to_migrate(keys, "/usr/bin") == "its Python is in no virtual environment"
        path = environment_for(database, worktree)["PATH"]
        assert toolchain.find_reason_to_migrate({**keys, "shop.0001": None}, path) == "the app shop was not found"
        write(packages_of(worktree), {"elsewhere.pth": "/srv/shared\n"})
        assert "elsewhere.pth imports packages" in toolchain.find_reason_to_migrate(keys, path)


def packages_of(worktree: Path) -> Path:
    return next(worktree.glob(".venv/lib/python3*/site-packages"))
