"""`db.pull` and `golden.pull`, as a user runs them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from urllib.parse import quote

import psycopg
import pytest

from tasks_lib.loquent.fixture import create_fixture

WORD = "p@ss:w/rd%#"


@pytest.fixture
def production(repository, other_url):
    """Give a database on another server, which the main worktree's env file names with an odd password."""
    name, role = f"prod_{secrets.token_hex(4)}", f"role_{secrets.token_hex(4)}"
    with psycopg.connect(other_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{WORD}'")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        with psycopg.connect(other_url, dbname=name, autocommit=True) as connection:
            connection.execute("CREATE TABLE person AS SELECT i, 'real ' || i AS name FROM generate_series(1, 5) AS i")
        address = other_url.rpartition("@")[2].rpartition("/")[0]
        with (repository.path / ".env").open("a") as env:
            env.write(f"PULL_DATABASE_URL='postgresql://{role}:{quote(WORD, safe='')}@{address}/{name}'\n")
        yield f"postgresql://{role}:***@{address}/{name}"
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.execute(f"DROP ROLE {role}")


def mask(repository, script, name="mask.sql"):
    """Have *script*, an SQL file, mask what is pulled."""
    (repository.path / name).write_text(script)
    (repository.path / "invoke.yaml").write_text(f"db: {{pull_mask: {name}}}\n")


def test_pulled_into_a_worktree(repository, production):
    """The branch's own migration runs on the masked data; the database that was comes back with `worktree.undo`."""
    repository.json("worktree.create", "a")
    here, database = repository.worktree("a"), repository.env("a")["DATABASE_URL"].rpartition("/")[2]
    kept = repository.sql("SELECT count(*) FROM contact", database)
    assert "add --unmasked" in repository.refuses("db.pull", cwd=here)
    assert "is the main worktree" in repository.refuses("db.pull", "--unmasked")
    elsewhere = {"DATABASE_URL": repository.url}
    assert "unset DATABASE_URL" in repository.refuses("db.pull", "--unmasked", cwd=here, env=elsewhere)

    mask(repository, "UPDATE person SET name = 'masked'; SELECT name FROM person;")
    before = repository.world()
    planned = repository.inv("-R", "db.pull", cwd=here)
    assert planned.stdout == f"would pull {production} into {database}\n"
    assert repository.world() == before
    migrate = {"WORKTREE_MIGRATE": """psql --command "INSERT INTO person VALUES (6, 'migrated')" """}
    shown = repository.inv("db.pull", "--json", cwd=here, env=migrate)

    told = json.loads(shown.stdout)["data"]
    assert told["source"] == production
    assert (told["tables"], told["rows"], told["masked"]) == (1, 5, True)
    assert told["bytes"] > 1_000_000
    assert told["parked"].startswith(f"{database}_parked_")
    assert "real" not in shown.stderr
    assert WORD not in shown.stderr + shown.stdout
    rows = repository.sql("SELECT name, count(*) FROM person GROUP BY 1 ORDER BY 2", database)
    assert rows == [("migrated", 1), ("masked", 5)]
    assert "by pull" in repository.inv("db.status", cwd=here).stdout

    repository.json("worktree.undo")
    assert repository.sql("SELECT count(*) FROM contact", database) == kept


def test_a_mask_that_fails(repository, production):
    """Its words are shown, its file's first statements have not happened, and nothing is left."""
    repository.json("worktree.create", "a")
    here = repository.worktree("a")
    mask(repository, "UPDATE person SET name = 'masked'; UPDATE nothing SET i = 1;")
    said = repository.refuses("db.pull", cwd=here)
    assert 'relation "nothing" does not exist' in said
    assert "real" not in said
    (repository.path / "mask.sql").unlink()
    assert "which does not exist" in repository.refuses("db.pull", cwd=here)
    # A command may end as a file's name does.
    (repository.path / "my.sql").write_text("UPDATE person SET name = 'masked'")
    assert repository.json("db.pull", cwd=here, env={"WORKTREE_PULL_MASK": "psql -q -f my.sql"})["masked"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(repository, production, number):
    """Ctrl-C leaves nothing behind; what a killed pull has left is swept by the next one."""
    repository.json("worktree.create", "a")
    here, before = repository.worktree("a"), repository.world()
    started = repository.path.parent / "started"
    command = {"WORKTREE_PULL_MASK": f"echo $DATABASE_URL > {started}; sleep 30"}
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", "db.pull"],
        cwd=here,
        env={**os.environ, **command},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not started.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    left = [name for name in repository.databases() if "_tmp_" in name]
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    started.unlink()

    assert len(left) == 1
    if number == signal.SIGINT:
        assert "error: interrupted" in said
        assert repository.world() == before
    else:
        assert left[0] in repository.databases()
        swept = repository.inv("db.pull", "--unmasked", cwd=here)
        assert swept.returncode == 0, swept.stderr
        assert f"dropped {left[0]}" in swept.stderr
        assert not [name for name in repository.databases() if "_tmp_" in name]


def test_pulled_into_golden(repository, production, server_url):
    """It is refused while somebody is connected to golden, unless they are evicted; clones have that data then."""
    golden = f"{repository.prefix}_latest"
    create_fixture(server_url, golden)
    env = {"WORKTREE_TEMPLATE_DB": golden}
    with psycopg.connect(server_url, dbname=golden, autocommit=True):
        assert "1 session is connected" in repository.refuses("golden.pull", "--unmasked", env=env)
        planned = repository.inv("-R", "golden.pull", "--unmasked", "--evict", env=env).stdout
        assert planned == f"would pull {production} into {golden}, unmasked\n"
        told = repository.json("golden.pull", "--unmasked", "--evict", env=env)

    assert (told["database"], told["masked"], told["rows"]) == (golden, False, 5)
    assert told["parked"].startswith(f"{golden}_parked_")
    database = repository.json("worktree.create", "a", env=env)["database"]
    assert repository.sql("SELECT count(*) FROM person", database) == [(5,)]
