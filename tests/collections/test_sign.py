"""Databases whose comments prove nothing: refused everywhere, and signed only when a person says so."""

from __future__ import annotations

import json
import secrets
from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from tasks_lib.worktrees.identity import derive


@pytest.fixture
def mallory(repository):
    """Give a role that has nothing but CREATEDB."""
    name = f"mallory_{secrets.token_hex(4)}"
    repository.sql(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD '{name}'")
    yield name
    for database in repository.sql(f"SELECT datname FROM pg_database WHERE datdba = '{name}'::regrole"):
        repository.sql(f'DROP DATABASE "{database[0]}"')
    repository.sql(f"DROP ROLE {name}")


def read_comments(repository):
    """Return the comments of the repository's databases by name, as every role can read them."""
    rows = repository.sql("SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database")
    return {name: text for name, text in rows if name.startswith(f"{repository.prefix}_") and text}


def comment(repository, name, fields):
    text = sql.Literal(fields if isinstance(fields, str) else json.dumps(fields))
    with psycopg.connect(repository.url, dbname="postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), text))


def downgrade(repository):
    """Give all databases the comments that an earlier version would have written."""
    for name, text in read_comments(repository).items():
        fields = json.loads(text)
        fields["parked"] = fields.pop("removed")
        comment(repository, name, {key: value for key, value in fields.items() if key not in ("proof", "given_to")})


def forge(repository, mallory, name, fields):
    """Do what *mallory* can do: create a database of that name, and write any comment on it."""
    with closing(psycopg.connect(repository.url, user=mallory, password=mallory, dbname="postgres")) as connection:
        connection.autocommit = True
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        text = sql.Literal(fields if isinstance(fields, str) else json.dumps(fields))
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), text))


def forged_fields(repository, slug):
    (text,) = [text for text in read_comments(repository).values() if '"clone"' in text]
    return {**json.loads(text), "slug": slug}


def test_forged_clone_in_the_way_is_refused(repository, mallory):
    """Not kept: the refusal names the owner, the reason and the cure, and nothing is created."""
    repository.json("worktree.create", "a")
    slug = derive("x", project="app", prefix=repository.prefix).slug
    name = f"{repository.prefix}_{slug}"
    forge(repository, mallory, name, forged_fields(repository, slug))

    said = repository.refuses("worktree.create", "x")
    assert f"database `{name}` is not provably ours" in said
    assert f"its owner is role `{mallory}`" in said
    assert "WORKTREE_DB_PREFIX" in said
    assert any(name in finding["text"] and mallory in finding["text"] for finding in repository.json("doctor"))
    (row,) = repository.json("db.sign", "--yes")
    assert (row["database"], row["outcome"]) == (name, "kept")
    assert mallory in row["why"]


def test_databases_of_an_earlier_version_are_signed_by_one_command(repository, mallory):
    """Until then each task refuses and names it; then all of them work again, removed worktrees too."""
    created = repository.json("worktree.create", "a")
    repository.json("worktree.create", "b")
    repository.json("worktree.remove", "b")
    (parked,) = repository.databases(parked=True)
    downgrade(repository)
    forge(repository, mallory, f"{repository.prefix}_forged", read_comments(repository)[created["database"]])

    for task in (["worktree.remove", "a", "--force"], ["worktree.undo", "b"]):
        assert "inv db.sign" in repository.refuses(*task), task
    for task in ("worktree.setup", "db.reset", "worktree.teardown"):
        assert "inv db.sign" in repository.refuses(task, cwd=created["path"]), task
    assert "not provably" in repository.inv("worktree.status", "a").stdout
    assert "inv db.sign" in repository.inv("doctor").stdout
    assert repository.inv("worktree.gc", "--yes").returncode == 0
    assert {created["database"], parked} <= set(repository.databases() + repository.databases(parked=True))

    before = read_comments(repository)
    for arguments in ([], ["--json"]):
        listed = repository.inv("db.sign", *arguments)
        for word in (created["database"], created["slug"], parked, "candidate", "kept", mallory):
            assert word in listed.stdout
    repository.inv("-R", "db.sign", "--yes")
    assert read_comments(repository) == before
    rows = {row["database"]: row for row in repository.json("db.sign", "--yes")}
    assert {name: row["outcome"] for name, row in rows.items()} == {
        created["database"]: "signed",
        parked: "signed",
        f"{repository.prefix}_forged": "kept",
    }
    assert rows[parked]["role"] == "parked"
    assert rows[created["database"]]["bytes"] > 0
    repository.json("worktree.undo", "b")
    assert repository.json("worktree.remove", "a")["databases"] == "parked"
    assert [row["outcome"] for row in repository.json("db.sign")] == ["kept"]


def test_only_what_the_registry_knows_is_signed(repository, mallory):
    """Not a clone of no worktree, not a parked database of no removal; not a database of an owner of another golden."""
    created = repository.json("worktree.create", "a")
    downgrade(repository)
    fields = json.loads(read_comments(repository)[created["database"]])
    strangers = {
        "unknown": {**fields, "slug": "no_such"},
        "parked": {**fields, "role": "parked", "database": created["database"], "parked": "2026-01-02T03:04:05+00:00"},
        "snapshot": {**fields, "role": "snapshot", "slug": ""},
        "late": {**fields, "created": "2099-01-02T03:04:05+00:00"},
    }
    for name, changed in strangers.items():
        repository.sql(f'CREATE DATABASE "{repository.prefix}_{name}" TEMPLATE template0')
        comment(repository, f"{repository.prefix}_{name}", changed)
    theirs = f"{repository.prefix}_theirs"
    forge(repository, mallory, theirs, {**fields, "golden": theirs})

    rows = {row["database"]: row for row in repository.json("db.sign", "--yes")}
    assert rows.pop(created["database"])["outcome"] == "signed"
    assert rows.keys() == {theirs, *(f"{repository.prefix}_{name}" for name in strangers)}
    assert {row["outcome"] for row in rows.values()} == {"kept"}
    assert all(row["why"] for row in rows.values())


def test_a_lost_key_disowns_nothing_for_good(repository):
    """Databases of the lost key are refused, not dropped, and signed again with the new one."""
    created = repository.json("worktree.create", "a")
    (repository.path / ".git/goldentree/ownership.key").unlink()
    said = repository.refuses("worktree.remove", "a")
    assert "the key was lost" in said
    assert said.rstrip().endswith("inv db.sign")
    assert repository.json("db.sign", "--yes")[0]["outcome"] == "signed"
    assert repository.json("db.status", cwd=created["path"])["database"] == created["database"]
    assert repository.json("worktree.remove", "a")["databases"] == "parked"


def test_wrong_clock_of_the_client_changes_no_proof(repository, monkeypatch):
    """Instants in comments come from the server's clock: a machine that is a year ahead makes usable databases."""
    from datetime import datetime, timedelta

    from tasks_lib.worktrees import registry
    from tasks_lib.worktrees.removal import removal_record

    late = (datetime.now().astimezone() + timedelta(days=400)).isoformat()
    monkeypatch.setattr(registry, "current_time", lambda: late)
    monkeypatch.setattr(removal_record, "timestamp", lambda: late)
    repository.json("worktree.create", "a")
    repository.json("worktree.remove", "a")
    repository.json("worktree.undo", "a")
    (text,) = read_comments(repository).values()
    assert late[:4] not in text
