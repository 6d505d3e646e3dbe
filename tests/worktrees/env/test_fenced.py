"""Tools that ignore the environment: they are stopped, or what they did is reported."""

from __future__ import annotations

import shlex
import sys

import pytest

from tasks_lib.databases.compare.queries import read_contents_of
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl

TOOL = """
import sys, time
import psycopg
url, seconds, *statements = sys.argv[1:]
with psycopg.connect(url, autocommit=seconds == "commit") as connection:
    for statement in statements:
        connection.execute(statement)
    if seconds != "commit":
        time.sleep(float(seconds))
"""


@pytest.fixture
def contents(repository):
    """Return a function that reads all of a database."""
    server = Server(DatabaseUrl.parse(repository.url))
    return lambda database: read_contents_of(server, database)


@pytest.fixture
def tool(repository, tmp_path):
    """Return a function that gives a command: it works on a database that it names itself."""
    program = tmp_path / "tool.py"
    program.write_text(TOOL)

    def command(database, seconds, *statements):
        url = repository.url.rpartition("/")[0] + f"/{database}"
        return shlex.join([sys.executable, str(program), url, str(seconds), *statements])

    return command


@pytest.fixture
def dev(repository):
    """Give the name of the main worktree's database, which has a migration history."""
    name = f"{repository.prefix}dev"
    repository.sql(f"CREATE DATABASE {name}")
    repository.sql("CREATE TABLE schema_migrations AS SELECT '1' AS version", name)
    env = repository.path / ".env"
    env.write_text(env.read_text().replace("/loquent_latest'", f"/{name}'"))
    yield name
    repository.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("key", ["WORKTREE_MIGRATE", "after_setup"])
def test_tool_that_works_on_golden_is_stopped(repository, tool, contents, key):
    """Its transaction is rolled back, nothing is left behind, and the error says which database and how to find it."""
    before = contents("loquent_latest")
    command = tool("loquent_latest", 30, "CREATE TABLE migrated ()", "DELETE FROM staff_presence")
    env = {"WORKTREE_MIGRATE": command}
    if key == "after_setup":
        (repository.path / "invoke.yaml").write_text(f"worktree: {{after_setup: [{command!r}]}}\n")
        env = {"WORKTREE_MIGRATE": ""}
    said = repository.refuses("worktree.create", "a", env=env)
    assert "connected to `loquent_latest`, the golden template\n  process " in said
    assert "it was ended, and its transaction was rolled back\n" in said
    assert said.endswith("git grep -l --untracked --no-exclude-standard -F loquent_latest\n")
    assert "s3cret" not in said
    assert contents("loquent_latest") == before


def test_variable_that_leads_to_golden_is_named(repository, tool):
    """A variable that `worktree.keep_env` keeps is the reason, and the error says so."""
    (repository.path / "invoke.yaml").write_text("worktree: {keep_env: [OLD_URL]}\n")
    with (repository.path / ".env").open("a") as file:
        file.write(f"OLD_URL={repository.url}\n")
    said = repository.refuses("worktree.create", "a", env={"WORKTREE_MIGRATE": tool("loquent_latest", 30)})
    assert "`OLD_URL` in `.env` names `loquent_latest`, the golden template" in said


@pytest.mark.parametrize("status", [0, 1])
def test_quick_migration_of_mains_database_is_reported(repository, tool, dev, monkeypatch, status):
    """A session that is too short to be seen is noticed by the migrations that the database gained and lost."""
    monkeypatch.setattr("tasks_lib.databases.server.fence.Fence._look", lambda *_: None)
    change = ("INSERT INTO schema_migrations VALUES ('2')", "DELETE FROM schema_migrations WHERE version = '1'")
    command = f"{tool(dev, 0, *change)}; exit {status}"
    said = repository.inv("worktree.create", "a", env={"WORKTREE_MIGRATE": command})
    assert said.returncode == 1
    assert f"`{dev}`, the main worktree's database, changed while `" in said.stderr
    assert f"  `{dev}`: gained 2\n  `{dev}`: lost 1\n" in said.stderr
    assert ("exited with 1" in said.stderr) == bool(status)
    assert "undone: migrate" not in said.stderr
    assert repository.databases() == []


def test_dropping_mains_database_is_reported(repository, tool, dev):
    """A tool needs no session on a database to drop it, and `postgres` is not guarded."""
    statements = [f"DROP DATABASE {dev}", f"CREATE DATABASE {dev}"]
    command = " && ".join(tool("postgres", "commit", statement) for statement in statements)
    said = repository.inv("worktree.create", "a", env={"WORKTREE_MIGRATE": command})
    assert said.returncode == 1
    assert f"`{dev}`, the main worktree's database, changed while `" in said.stderr
    assert f"  `{dev}`: dropped\n" in said.stderr


def test_tool_may_use_the_worktrees_own_databases(repository, tool):
    """A tool that works on the clone for longer than a look takes is left alone."""
    name = repository.json("worktree.create", "a", "--no-db")["database"]
    migrate = tool(name, 0.3, "CREATE TABLE migrated ()")
    repository.json("worktree.db", cwd=repository.worktree("a"), env={"WORKTREE_MIGRATE": migrate})
    assert repository.sql("SELECT to_regclass('migrated')", name) == [("migrated",)]


def test_unreadable_history_is_reported(repository, dev):
    """What could not be compared is said, because a change there would not be noticed."""
    role = f"{repository.prefix}role"
    repository.sql(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD '{role}'")
    repository.sql(f"ALTER DATABASE {dev} OWNER TO {role}")
    env = repository.path / ".env"
    host = repository.url.rpartition("@")[2].rpartition("/")[0]
    env.write_text(
        env.read_text().replace(repository.env()["DATABASE_URL"], f"postgresql://{role}:{role}@{host}/{dev}")
    )
    try:
        options = ("worktree.create", "a", "--no-db")
        (repository.path / "invoke.yaml").write_text("worktree: {after_setup: ['true']}\n")
        said = repository.inv(*options)
        assert said.returncode == 0, said.stderr
        assert f"warning: a migration of `{dev}` would not be noticed: " in said.stderr
    finally:
        repository.sql(f"ALTER DATABASE {dev} OWNER TO CURRENT_USER")
        repository.sql(f"DROP ROLE {role}")
