"""`worktree.status` reports everything about one worktree, and what is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MIGRATION = "revision = {key!r}\ndown_revision = {parent!r}\n\n\ndef upgrade():\n    pass\n"


@pytest.fixture
def migrated(repository):
    """Give a repository with one Alembic migration, applied in its own golden template."""
    (repository.path / "alembic.ini").write_text("[alembic]\nscript_location = alembic\n")
    versions = repository.path / "alembic" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").touch()
    (versions / "one_start.py").write_text(MIGRATION.format(key="one", parent=None))
    repository.commit("One")
    env = repository.path / ".env"
    repository.golden = f"{repository.prefix}_latest"
    repository.sql(f'CREATE DATABASE "{repository.golden}"')
    apply(repository, "one")
    text = env.read_text().replace("WORKTREE_TEMPLATE_DB=loquent_latest", f"WORKTREE_TEMPLATE_DB={repository.golden}")
    env.write_text(text + "WORKTREE_MIGRATE=none\n")
    return repository


def apply(repository, key):
    ledger = "CREATE TABLE IF NOT EXISTS alembic_version (version_num text); DELETE FROM alembic_version;"
    repository.sql(f"{ledger} INSERT INTO alembic_version VALUES ('{key}')", repository.golden)


def status(repository, *arguments, ok=True, **options):
    result = repository.inv("worktree.status", "--json", *arguments, **options)
    assert result.returncode == (0 if ok else 1), result.stdout + result.stderr
    return json.loads(result.stdout)["data"]


def test_status_of_a_worktree_is_complete(migrated):
    """Names, databases, DATABASE_URL and its source, migrations, golden's changes; the same from any directory."""
    created = migrated.json("worktree.create", "a")
    there = Path(created["path"])
    migrated.git("branch", "--move", "a", "renamed")
    (there / "alembic" / "versions" / "two_more.py").write_text(MIGRATION.format(key="two", parent="one"))

    found = status(migrated, cwd=there)

    assert (found["branch"], found["branch_at_creation"], found["slug"]) == ("renamed", "a", created["slug"])
    assert (found["subdomain"], found["dev_url"], found["state"]) == ("a", created["dev_url"], "ready")
    assert (found["url_layer"], found["own"], found["problems"]) == (".env", True, [])
    assert found["url"].endswith(f":***@127.0.0.1:{found['url'].split(':')[-1].split('/')[0]}/{created['database']}")
    assert found["migrations"] == {
        "applied": ["one_start"],
        "pending": ["two_more"],
        "missing": [],
        "last": "one_start",
    }
    assert (found["toolchain"], found["tables"], found["dirty"]) == ("alembic", 1, 1)
    assert found["golden"] | {"bytes": 0} == {
        "database": migrated.golden,
        "bytes": 0,
        "sessions": 0,
        "changed": False,
        "new_migrations": [],
    }

    apply(migrated, "three")
    away = status(migrated, "--branch", "renamed", env={"DATABASE_URL": migrated.url})
    assert (away["own"], away["current"], away["url"]) == (True, False, found["url"])
    assert (away["golden"]["changed"], away["golden"]["new_migrations"]) == (True, ["three"])
    assert away["migrations"]["missing"] == ["three"]
    rows = {row["slug"]: row for row in migrated.json("worktree.list")}
    assert rows[created["slug"]]["drift"] == {"applied": 1, "pending": 1, "missing": 1, "golden_changed": True}
    assert {key: away[key] for key in rows[None]} == rows[created["slug"]] | {"age_seconds": away["age_seconds"]}

    told = migrated.inv("worktree.status", cwd=there).stdout
    assert "renamed  (created for a)" in told
    assert "changed since, 1 new migration)" in told
    assert "three  (golden has it, this branch lacks it)" in told

    # Another worktree's database, from any layer, is a problem with exit status 1.
    exported = migrated.inv("worktree.status", cwd=there, env={"DATABASE_URL": migrated.url})
    assert exported.returncode == 1
    assert "from the process environment: NOT this worktree's" in exported.stdout
    assert "hint: unset DATABASE_URL" in exported.stdout
    (there / ".env").write_text(f"DATABASE_URL={migrated.url}\n")
    assert "from .env: NOT this worktree's" in migrated.inv("worktree.status", cwd=there).stdout
    wrong = status(migrated, cwd=there, ok=False)
    assert wrong["own"] is False
    assert wrong["problems"][0]["hint"].startswith("inv worktree.")

    # Without a server, the rest is still reported.
    env = migrated.path / ".env"
    env.write_text(env.read_text().replace(migrated.url, "postgresql://ada:s3cret@127.0.0.1:1/x"))
    down = status(migrated, cwd=there, ok=False)
    assert (down["slug"], down["dirty"], down["bytes"], down["migrations"]) == (created["slug"], 1, None, None)
    assert "no PostgreSQL server answers" in down["problems"][0]["message"]
    assert "s3cret" not in json.dumps(down)

    shutil.rmtree(there)
    gone = status(migrated, "--branch", created["slug"], ok=False)
    assert gone["state"] == "gone"
    assert f"inv worktree.remove {created['slug']} --keep-branch" in [problem["hint"] for problem in gone["problems"]]


def test_status_covers_main_and_plain_worktrees(repository):
    """The main worktree has no problems; a plain one names the command that sets it up."""
    repository.git("worktree", "add", "--quiet", repository.worktree("plain"), "-b", "plain")
    before = repository.world()
    for found in (status(repository), status(repository, "--branch", "main", cwd=repository.worktree("plain"))):
        assert (found["state"], found["own"], found["database"]) == ("main", None, None)
        assert (found["url_layer"], found["golden"]["database"]) == (".env", "loquent_latest")
        assert found["golden"]["bytes"] > 1_000_000
    plain = status(repository, cwd=repository.worktree("plain"), ok=False)
    assert [problem["hint"] for problem in plain["problems"]] == ["inv worktree.setup"]
    told = repository.inv("worktree.status", "--branch", "plain")
    assert f"hint: cd {repository.worktree('plain')} && inv worktree.setup" in told.stdout
    assert "no worktree of `x` was found" in repository.refuses("worktree.status", "--branch", "x")
    assert repository.world() == before


def test_merge_that_a_tracked_env_file_blocks_is_explained(repository):
    """Git would refuse it, and show nothing; the command of the hint cures that, here with a user's own key."""
    repository.git("add", "--force", ".env")
    repository.commit("Track the env file")
    repository.json("worktree.create", "a")
    there = repository.worktree("a")
    assert status(repository, "a")["problems"] == []
    own = repository.env("a")
    with (there / ".env").open("a") as env:
        env.write("ONLY_HERE=1\n")
    with (repository.path / ".env").open("a") as env:
        env.write("X=2\n")
    repository.commit("Add a key")

    assert subprocess.run(["git", "merge", "main"], cwd=there, check=False).returncode == 1
    (problem,) = status(repository, "a", ok=False)["problems"]
    assert "git refuses to merge or pull `main`, which changes .env" in problem["message"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = problem["hint"].splitlines()[-1]
    subprocess.run(["sh", "-c", command], cwd=repository.path, env={**os.environ, "PATH": path}, check=True)

    assert repository.env("a") == {**own, "X": "2"}
    assert "ONLY_HERE=1" in (repository.path / ".git/worktrees/app-a/.env.before-merge").read_text()
    assert repository.git("status", "--porcelain", cwd=there) == ""
    assert repository.git("log", "-1", "--format=%s", cwd=there) == "Add a key"
    assert status(repository, "a")["problems"] == []
