"""Env files in the layouts of frameworks, read by small programs in those frameworks' order."""

from __future__ import annotations

from tests.applications.conftest import MAIN, PASSWORD, USER

MIGRATE = """
import psycopg, sys
from where import login
with psycopg.connect(*login()[:1], **login()[1]) as connection:
    connection.execute(sys.argv[1])
"""
"""A migration tool without a history, which uses the application's own configuration."""

WHERE = """
if __name__ == "__main__":
    print(psycopg.connect(*login()[:1], **login()[1]).info.dbname)
"""

# vlucas/phpdotenv: `.env`, or `.env.testing` where APP_ENV says so; exported variables win. DB_URL is preferred.
LARAVEL = f"""
import os, psycopg
from dotenv import dotenv_values

def login():
    name = f".env.{{os.environ['APP_ENV']}}" if "APP_ENV" in os.environ else ".env"
    env = {{**dotenv_values(name), **os.environ}}
    assert env["DB_CONNECTION"] == "pgsql"
    parts = {{"host": "HOST", "port": "PORT", "dbname": "DATABASE", "user": "USERNAME", "password": "PASSWORD"}}
    return env.get("DB_URL", ""), {{part: env[f"DB_{{key}}"] for part, key in parts.items()}}
{WHERE}"""

# dotenv-rails: the first file that has a variable wins, exported ones win over all. Rails merges DATABASE_URL over
# config/database.yml.
RAILS = f"""
import os, psycopg, re
from dotenv import dotenv_values

def login():
    mode = os.environ.get("RAILS_ENV", "development")
    env = {{}}
    for name in (".env", f".env.{{mode}}", ".env.local" if mode != "test" else "", f".env.{{mode}}.local"):
        env |= dotenv_values(name) if name else {{}}
    env |= os.environ
    yml = re.sub(r'<%= ENV\\["(\\w+)"\\] %>', lambda found: env[found[1]], open("config/database.yml").read())
    own = dict(line.strip().split(": ") for line in yml.split(mode + ":\\n")[1].split("\\n\\n")[0].strip().splitlines())
    parts = {{"host": "host", "port": "port", "dbname": "database", "user": "username", "password": "password"}}
    if "DATABASE_URL" in env:
        return env["DATABASE_URL"], {{}}
    return "", {{part: own[key] for part, key in parts.items()}}
{WHERE}"""

# Next.js: exported variables, then `.env.development.local`, `.env.local`, `.env.development` and `.env`.
NEXT = f"""
import os, psycopg
from dotenv import dotenv_values

def login():
    env = {{}}
    for name in (".env", ".env.development", ".env.local", ".env.development.local"):
        env |= dotenv_values(name)
    return {{**env, **os.environ}}["DIRECT_URL"], {{}}
{WHERE}"""
API = f"""
import os, psycopg
from dotenv import dotenv_values

def login():
    env = {{**dotenv_values(".env"), **os.environ}}
    return "", {{part: env[f"API_DB_{{part.upper()}}"] for part in ("host", "port", "user", "password")}} | {{
        "dbname": env["API_DB_NAME"]
    }}
{WHERE}"""


def migrate(folder="."):
    """Return the setting that migrates by `migration.sql` in *folder*, if the branch has it."""
    return (
        f"""db: {{migrate: 'cd {folder} && if [ -e branch.sql ]; then python migrate.py "$(cat branch.sql)"; fi'}}\n"""
    )


START, RENAME = "CREATE TABLE contact AS SELECT 41 AS x", "ALTER TABLE contact RENAME TO customer"


def variables(application, prefix, names):
    """Return the five variables of a database's login, called *prefix* and *names*."""
    values = (application.host, application.port, MAIN, USER, f'"{PASSWORD}"')
    return "".join(f"{prefix}{name}={value}\n" for name, value in zip(names.split(), values, strict=True))


def test_laravel_uses_the_clone(application):
    """DB_CONNECTION and its siblings; the test database of `.env.testing` is not touched."""
    env = "DB_CONNECTION=pgsql\n" + variables(application, "DB_", "HOST PORT DATABASE USERNAME PASSWORD")
    testing = env.replace(MAIN, "app_testing")
    application.lay_out(
        {"where.py": LARAVEL, "migrate.py": MIGRATE, "invoke.yaml": migrate(), ".env.testing": testing},
        {".env": "APP_NAME=Laravel\nAPP_ENV=local\n" + env},
        {"branch.sql": RENAME},
    )
    application.migrate_main("python", "migrate.py", START)

    application.check_journey("python", "where.py", table="customer")

    assert (application.repository.worktree("feat") / ".env.testing").read_text() == testing


def test_rails_uses_the_clone(application):
    """`.env.development` and `.env.test` are read before `.env`, and database.yml takes its values from them."""
    names = ["DB_HOST", "DB_PORT", "DB_NAME", "DB_USERNAME", "DB_PASSWORD"]
    keys = dict(zip(("host", "port", "database", "username", "password"), names, strict=True))
    yml = "".join(
        f"{mode}:\n" + "".join(f'  {key}: <%= ENV["{name}"] %>\n' for key, name in keys.items()) + "\n"
        for mode in ("development", "test")
    )
    env = variables(application, "", " ".join(names))
    application.lay_out(
        {"where.py": RAILS, "migrate.py": MIGRATE, "config/database.yml": yml, "invoke.yaml": migrate()},
        {".env.development": env, ".env.test": env.replace(MAIN, "app_test"), ".worktreeinclude": ".env.*\n"},
        {"branch.sql": RENAME},
    )
    application.migrate_main("python", "migrate.py", START)

    application.check_journey("python", "where.py", table="customer")


def test_nested_applications_use_the_clone(application):
    """Two applications with an env file each, under different keys; the one at the root only names the server."""
    web = application.url.replace(f"/{MAIN}", f"/{MAIN}?application_name=web")
    application.lay_out(
        {
            "apps/web/where.py": NEXT,
            "apps/api/where.py": API,
            "apps/api/migrate.py": MIGRATE,
            "invoke.yaml": migrate("apps/api"),
        },
        {
            ".env": f"# goldentree's own: the applications do not read it\nDATABASE_URL={application.url}\n",
            "apps/web/.env": f'# web\nDIRECT_URL="{web}"\n',
            "apps/api/.env": variables(application, "API_DB_", "HOST PORT NAME USER PASSWORD"),
            ".worktreeinclude": "**/.env\n",
        },
        {"apps/api/branch.sql": RENAME},
    )
    application.migrate_main("python", "migrate.py", START, folder="apps/api")

    application.check_journey("python", "where.py", folder="apps/api", table="customer")

    there = application.repository.worktree("feat")
    assert application.run("python", "where.py", cwd=there / "apps/web").startswith("app_feat_")
    assert "?application_name=web" in (there / "apps/web/.env").read_text()
