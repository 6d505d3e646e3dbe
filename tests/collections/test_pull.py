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
    """Write *script*, and configure it as the mask."""
    (repository.path / name).write_text(script)
    (repository.path / "invoke.yaml").write_text(f"db: {{pull_mask: {name}}}\n")


@pytest.fixture
def here(repository, production):
    """Create a worktree, and return where it is."""
    repository.json("worktree.create", "a")
    return repository.worktree("a")


@pytest.fixture
def database(repository, here):
    """Give the name of that worktree's database."""
    return repository.env("a")["DATABASE_URL"].rpartition("/")[2]


def test_unsafe_pulls_are_refused(repository, here):
    """A pull needs a mask or --unmasked, a linked worktree, and its own DATABASE_URL."""
    assert "add --unmasked" in repository.refuses("db.pull", cwd=here)
    assert "is the main worktree" in repository.refuses("db.pull", "--unmasked")
    elsewhere = {"DATABASE_URL": repository.url}
    assert "unset DATABASE_URL" in repository.refuses("db.pull", "--unmasked", cwd=here, env=elsewhere)


def test_dry_run_pulls_nothing(repository, production, here, database):
    """`-R` prints the source without its password, and the target."""
    mask(repository, "SELECT 1;")
    before = repository.world()
    planned = repository.inv("-R", "db.pull", cwd=here)
    assert planned.stdout == f"would pull {production} into {database}\n"
    assert repository.world() == before


def test_migrations_run_on_masked_data(repository, production, here, database):
    """Rows are masked before the branch's migrations run; no output has an unmasked row or the password."""
    mask(repository, "UPDATE person SET name = 'masked'; SELECT name FROM person;")
    migrate = {"WORKTREE_MIGRATE": """psql --command "INSERT INTO person VALUES (6, 'migrated')" """}
    shown = repository.inv("db.pull", "--json", cwd=here, env=migrate)

    pulled = json.loads(shown.stdout)["data"]
    assert pulled["source"] == production
    assert (pulled["tables"], pulled["rows"], pulled["masked"]) == (1, 5, True)
    assert pulled["bytes"] > 1_000_000
    assert pulled["parked"].startswith(f"{database}_parked_")
    assert "real" not in shown.stderr
    assert WORD not in shown.stderr + shown.stdout
    rows = repository.sql("SELECT name, count(*) FROM person GROUP BY 1 ORDER BY 2", database)
    assert rows == [("migrated", 1), ("masked", 5)]
    assert "by pull" in repository.inv("db.status", cwd=here).stdout


def test_undo_restores_the_replaced_database(repository, here, database):
    """`worktree.undo` restores the database that a pull has replaced."""
    kept = repository.sql("SELECT count(*) FROM contact", database)
    repository.json("db.pull", "--unmasked", cwd=here)
    assert repository.sql("SELECT to_regclass('contact')", database) == [(None,)]

    repository.json("worktree.undo")
    assert repository.sql("SELECT count(*) FROM contact", database) == kept


def test_failed_mask_leaves_nothing(repository, here):
    """The error has PostgreSQL's message and no row, and the database is unchanged."""
    mask(repository, "UPDATE person SET name = 'masked'; UPDATE nothing SET i = 1;")
    said = repository.refuses("db.pull", cwd=here)
    assert 'relation "nothing" does not exist' in said
    assert "real" not in said


def test_missing_mask_file_is_an_error(repository, here):
    """The error says that the file does not exist."""
    mask(repository, "SELECT 1;")
    (repository.path / "mask.sql").unlink()
    assert "which does not exist" in repository.refuses("db.pull", cwd=here)


def test_mask_command_may_end_in_sql(repository, here):
    """A command that ends like a file name is run as a command."""
    (repository.path / "my.sql").write_text("UPDATE person SET name = 'masked'")
    assert repository.json("db.pull", cwd=here, env={"WORKTREE_PULL_MASK": "psql -q -f my.sql"})["masked"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_pull_leaves_nothing(repository, here, number):
    """Ctrl-C drops the copy at once; the copy of a killed pull is dropped by the next pull."""
    before = repository.world()
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
        again = repository.inv("db.pull", "--unmasked", cwd=here)
        assert again.returncode == 0, again.stderr
        assert f"dropped {left[0]}" in again.stderr
        assert not [name for name in repository.databases() if "_tmp_" in name]


def test_golden_pull_evicts_only_on_request(repository, production, server_url):
    """While a session is connected, golden is replaced only with --evict; later clones have the pulled data."""
    golden = f"{repository.prefix}_latest"
    repository.sql(f'CREATE DATABASE "{golden}"')
    env = {"WORKTREE_TEMPLATE_DB": golden}
    with psycopg.connect(server_url, dbname=golden, autocommit=True):
        assert "1 session is connected" in repository.refuses("golden.pull", "--unmasked", env=env)
        planned = repository.inv("-R", "golden.pull", "--unmasked", "--evict", env=env).stdout
        assert planned == f"would pull {production} into {golden}, unmasked\n"
        pulled = repository.json("golden.pull", "--unmasked", "--evict", env=env)

    assert (pulled["database"], pulled["masked"], pulled["rows"]) == (golden, False, 5)
    assert pulled["parked"].startswith(f"{golden}_parked_")
    database = repository.json("worktree.create", "a", env=env)["database"]
    assert repository.sql("SELECT count(*) FROM person", database) == [(5,)]
