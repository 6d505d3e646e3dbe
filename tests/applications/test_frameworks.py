"""Real frameworks, whose configuration names the database by variables of their own."""

from __future__ import annotations

import os

from tests.applications.conftest import MAIN, PASSWORD, USER
from tests.npm import NODE

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
execute_from_command_line(sys.argv)
"""
SETTINGS = """
import os
from pathlib import Path
from dotenv import load_dotenv
load_dotenv(Path(__file__).with_name(".env"))
SECRET_KEY = "for tests"
INSTALLED_APPS = ["crm"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql"} | {
    part: os.environ[f"DB_{part}"] for part in ("NAME", "HOST", "PORT", "USER", "PASSWORD")
}}
"""
DJANGO_WHERE = """
import psycopg, site_settings
at = {key.lower(): value for key, value in site_settings.DATABASES["default"].items()}
print(psycopg.connect(dbname=at["name"], **{key: at[key] for key in ("host", "port", "user", "password")}).info.dbname)
"""


def django_migration(number, statement):
    parents = [("crm", f"000{number - 1}_step")] if number > 1 else []
    return {
        f"crm/migrations/000{number}_step.py": (
            "from django.db import migrations\n\n"
            "class Migration(migrations.Migration):\n"
            f"    dependencies = {parents}\n"
            f"    operations = [migrations.RunSQL({statement!r})]\n"
        )
    }


def test_django_with_separate_variables_uses_the_clone(application):
    """`DB_NAME` and its siblings are in `.env`, and there is no DATABASE_URL."""
    parts = {"NAME": MAIN, "HOST": application.host, "PORT": application.port, "USER": USER, "PASSWORD": PASSWORD}
    application.lay_out(
        {
            "manage.py": MANAGE,
            "site_settings.py": SETTINGS,
            "where.py": DJANGO_WHERE,
            "crm/__init__.py": "",
            "crm/migrations/__init__.py": "",
            **django_migration(1, "CREATE TABLE contact AS SELECT 41 AS x"),
        },
        {".env": "".join(f"DB_{part}='{value}'\n" for part, value in parts.items())},
        django_migration(2, "ALTER TABLE contact RENAME TO customer"),
    )
    application.migrate_main("python", "manage.py", "migrate")

    application.check_journey("python", "where.py", table="customer")


ALEMBIC_INI = "[alembic]\nscript_location = %(here)s/migrations\n"
ALEMBIC_ENV = """
import sys
from alembic import context
from sqlalchemy import create_engine
sys.path.insert(0, ".")
from config import url
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
ALEMBIC_CONFIG = """
import os
from dotenv import dotenv_values
from sqlalchemy import URL, create_engine
at = {**dotenv_values(".env"), **os.environ}
url = URL.create("postgresql+psycopg", at["POSTGRES_USER"], at["POSTGRES_PASSWORD"], at["POSTGRES_SERVER"],
    int(at["POSTGRES_PORT"]), at["POSTGRES_DB"])
if __name__ == "__main__":
    print(create_engine(url).connect().exec_driver_sql("SELECT current_database()").scalar())
"""


def revision(key, down, statement):
    return {
        f"migrations/versions/{key}.py": "from alembic import op\n"
        f"revision = {key!r}\ndown_revision = {down!r}\n"
        f"def upgrade():\n    op.execute({statement!r})\n"
    }


def test_alembic_with_separate_variables_uses_the_clone(application):
    """As FastAPI's template: `POSTGRES_SERVER` and its siblings, read by a module that env.py imports."""
    application.lay_out(
        {
            "alembic.ini": ALEMBIC_INI,
            "migrations/env.py": ALEMBIC_ENV,
            "config.py": ALEMBIC_CONFIG,
            **revision("a", None, "CREATE TABLE contact AS SELECT 41 AS x"),
        },
        {
            ".env": f"POSTGRES_SERVER={application.host}\nPOSTGRES_PORT={application.port}\nPOSTGRES_DB={MAIN}\n"
            f"POSTGRES_USER={USER}\nPOSTGRES_PASSWORD={PASSWORD}  # local\n"
        },
        revision("b", "a", "ALTER TABLE contact RENAME TO customer"),
    )
    application.migrate_main("alembic", "upgrade", "heads")

    application.check_journey("python", "config.py", table="customer")


DRIZZLE_CONFIG = """
import { defineConfig } from "drizzle-kit";
process.loadEnvFile(".env");
export default defineConfig({
  dialect: "postgresql", schema: "./schema.ts", out: "./drizzle", dbCredentials: { url: process.env.POSTGRES_URL! },
});
"""
DRIZZLE_WHERE = """
import pg from "pg";
const client = new pg.Client(process.env.POSTGRES_URL);
await client.connect();
console.log((await client.query("SELECT current_database() AS name")).rows[0].name);
await client.end();
"""


def journal(*tags):
    entries = ", ".join(
        f'{{"idx": {number}, "version": "7", "when": {1704067200000 + number}, "tag": "{tag}", "breakpoints": true}}'
        for number, tag in enumerate(tags)
    )
    return {"drizzle/meta/_journal.json": f'{{"version": "7", "dialect": "postgresql", "entries": [{entries}]}}'}


def test_drizzle_with_another_key_uses_the_clone(application, node_modules, monkeypatch):
    """As in every starter of Vercel: only `POSTGRES_URL` names the database."""
    monkeypatch.setenv("PATH", f"{NODE / 'bin'}{os.pathsep}{os.environ['PATH']}")
    application.lay_out(
        {
            "drizzle.config.ts": DRIZZLE_CONFIG,
            "where.mjs": DRIZZLE_WHERE,
            "drizzle/0000_start.sql": "CREATE TABLE contact (x int);",
            **journal("0000_start"),
        },
        {".env": f"POSTGRES_URL={application.url}\n"},
        {"drizzle/0001_rename.sql": "ALTER TABLE contact RENAME TO customer;", **journal("0000_start", "0001_rename")},
    )
    # Above the repository and its worktrees, where node looks, too.
    (application.path.parent / "node_modules").symlink_to(node_modules)
    application.migrate_main("../node_modules/.bin/drizzle-kit", "migrate")
    monkeypatch.setenv("PATH", f"{application.path.parent / 'node_modules/.bin'}{os.pathsep}{os.environ['PATH']}")

    application.check_journey("node", "--env-file=.env", "where.mjs", table="customer")
