"""The tasks of `db`, and `worktree.db`, in worktrees that somebody made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tasks_lib.toolchains.presets.sqlacodegen import MARK


@pytest.fixture
def there(repository):
    """Make a worktree of branch `a` by plain git, as Conductor and people do, and return where it is."""
    path = repository.worktree("a")
    repository.git("worktree", "add", "--quiet", path, "-b", "a")
    return path


class TestSetup:
    def test_it_adopts_a_plain_worktree(self, repository, there):
        """Clone, env file, migrations: all but `git worktree add`; a second run keeps the clone and its rows."""
        migrate = {"WORKTREE_MIGRATE": "echo $DATABASE_URL >> migrated"}
        made = repository.json("worktree.db", cwd=there, env=migrate)
        assert (made["branch"], made["path"]) == ("a", str(there))
        assert made["clone"]["method"] != "kept"
        repository.sql("CREATE TABLE mine AS SELECT 1", made["database"])
        again = repository.json("worktree.db", cwd=there, env=migrate)
        assert again["clone"]["method"] == "kept"
        assert {key: again[key] for key in ("port", "slug", "database")} == {
            key: made[key] for key in ("port", "slug", "database")
        }
        assert repository.sql("SELECT * FROM mine", made["database"]) == [(1,)]
        url = repository.env("a")["DATABASE_URL"]
        assert (there / "migrated").read_text().splitlines() == [url, url]
        assert "kept" in repository.inv("worktree.db", cwd=there).stdout
        assert repository.json("worktree.list")[1]["state"] == "ready"

    def test_from_a_subfolder(self, repository, there):
        """The worktree around the current directory is meant."""
        (there / "deep").mkdir()
        assert repository.json("worktree.db", cwd=there / "deep")["path"] == str(there)
        assert not (there / "deep" / ".env").exists()

    def test_a_failure_leaves_the_worktree_as_it_was(self, repository, there):
        """Somebody's worktree, their work and their env file survive; what this call made goes."""
        (there / ".env").write_text("MINE=1\n")
        (there / "note").write_text("precious")
        said = repository.refuses("worktree.db", cwd=there, env={"WORKTREE_MIGRATE": "exit 3"})
        assert "`exit 3` exited with 3" in said
        assert (there / "note").read_text() == "precious"

    def test_a_worktrees_own_env_file(self, repository, there):
        """Where the worktree has one, that is edited, and the main worktree's is not copied over it."""
        (there / ".env").write_text("MINE=1\n")
        repository.json("worktree.db", cwd=there)
        assert repository.env("a").keys() >= {"MINE", "DATABASE_URL", "PORT"}
        assert "APP_HOST" not in repository.env("a")

    def test_preview(self, repository, there):
        """`-R` prints the plan and does nothing."""
        before = repository.world()
        result = repository.inv("-R", "worktree.db", cwd=there)
        assert result.stdout.splitlines()[1:4] == [
            f"would adopt {there}",
            f"would clone loquent_latest into {repository.prefix}_a_86f7e4",
            "would point .env at it",
        ]
        assert repository.world() == before

    @pytest.mark.parametrize("task", ["worktree.db", "db.clone", "db.migrate", "db.generate", "db.status", "db.verify"])
    def test_not_in_the_main_worktree(self, repository, task):
        """Its database is never touched."""
        said = repository.refuses(task, env={"WORKTREE_MIGRATE": "touch migrated"})
        assert f"`{repository.path}` is the main worktree" in said

    @pytest.mark.parametrize("task", ["worktree.db", "db.clone"])
    def test_not_on_a_detached_head(self, repository, task):
        """The names come from the branch."""
        there = repository.worktree("detached")
        repository.git("worktree", "add", "--quiet", "--detach", there)
        assert "no branch is checked out" in repository.refuses(task, cwd=there)

    @pytest.mark.parametrize("task", ["db.migrate", "db.generate", "db.status", "db.verify"])
    def test_not_before_there_is_a_database(self, repository, there, task):
        """A worktree that nobody set up is sent to `worktree.db`."""
        said = repository.refuses(task, cwd=there, env={"WORKTREE_MIGRATE": "true", "WORKTREE_GENERATE": "true"})
        assert "hint: inv worktree.db" in said

    def test_conductors_port(self, repository, there):
        """The port that Conductor gave this workspace is taken, that of another workspace is not."""
        port = {"CONDUCTOR_PORT": "55120", "CONDUCTOR_WORKSPACE_PATH": str(there.parent)}
        assert repository.json("-R", "worktree.db", cwd=there, env=port)["plan"]
        made = repository.json("worktree.create", "b", env=port)
        assert made["port"] != 55120
        made = repository.json("worktree.db", cwd=there, env={**port, "CONDUCTOR_WORKSPACE_PATH": str(there)})
        assert made["port"] == 55120
        assert repository.env("a")["PORT"] == "55120"

    def test_names_that_belong_to_another_worktree(self, repository, there):
        """A branch renamed into the name that another worktree was made for gets no second set of its names."""
        repository.json("worktree.db", cwd=there)
        repository.git("branch", "--move", "a", "b")
        repository.git("worktree", "add", "--quiet", repository.worktree("again"), "-b", "a")
        said = repository.refuses("worktree.db", cwd=repository.worktree("again"))
        assert f"belong to the worktree at {there}" in said

    def test_a_worktree_made_again(self, repository, there):
        """Removed and added by plain git, a worktree comes back to its database."""
        made = repository.json("worktree.db", cwd=there)
        repository.git("worktree", "remove", "--force", there)
        repository.git("worktree", "add", "--quiet", there, "a")
        again = repository.json("worktree.db", cwd=there)
        assert (again["database"], again["clone"]["method"]) == (made["database"], "kept")
        assert repository.env("a")["PORT"] == str(made["port"])


class TestClone:
    def test_alone(self, repository, there):
        """The clone is made or kept; neither the env file nor the code is touched."""
        migrate = {"WORKTREE_MIGRATE": "touch migrated"}
        assert repository.json("db.clone", cwd=there, env=migrate)["clone"]["method"] != "kept"
        assert repository.json("db.clone", cwd=there, env=migrate)["clone"]["method"] == "kept"
        assert not (there / ".env").exists()
        assert not (there / "migrated").exists()
        assert len(repository.databases()) == 1

    def test_golden_missing(self, repository, there):
        """An error with guidance, and nothing made."""
        said = repository.refuses("db.clone", cwd=there, env={"WORKTREE_TEMPLATE_DB": "nowhere"})
        assert "golden template `nowhere` does not exist" in said


class TestGuard:
    @pytest.fixture
    def ready(self, repository, there):
        repository.json("worktree.db", cwd=there)
        return there

    @pytest.mark.parametrize("task", ["db.migrate", "db.generate", "db.status", "db.verify"])
    def test_the_env_file_names_another_database(self, repository, ready, task):
        """Nothing runs on a database that is not the worktree's; the file is named."""
        (ready / ".env").write_text(f"DATABASE_URL={repository.url}\n")
        command = {"WORKTREE_MIGRATE": "touch ran", "WORKTREE_GENERATE": "touch ran"}
        said = repository.refuses(task, cwd=ready, env=command)
        assert f"DATABASE_URL in `{ready}/.env` names database `loquent_latest`" in said
        assert not (ready / "ran").exists()

    @pytest.mark.parametrize("task", ["db.migrate", "db.status", "worktree.db", "db.clone"])
    def test_the_environment_names_another_database(self, repository, ready, task):
        """The environment wins over the file, and the error says so, without the password."""
        env = {"WORKTREE_MIGRATE": "touch ran", "DATABASE_URL": repository.url}
        said = repository.refuses(task, cwd=ready, env=env)
        assert "DATABASE_URL is exported in this shell and names database `loquent_latest`" in said
        assert "the environment overrides the env file" in said
        assert repository.url.partition("@")[0].rpartition(":")[2] not in said
        assert not (ready / "ran").exists()

    def test_the_environment_agrees(self, repository, ready):
        """Exporting the worktree's own URL is fine."""
        url = repository.env("a")["DATABASE_URL"]
        result = repository.inv("db.migrate", cwd=ready, env={"WORKTREE_MIGRATE": "touch ran", "DATABASE_URL": url})
        assert result.returncode == 0, result.stderr
        assert (ready / "ran").exists()

    def test_another_database_of_that_name(self, repository, ready):
        """The name alone proves nothing: the comment must be this worktree's."""
        database = repository.databases()[0]
        repository.sql(f"COMMENT ON DATABASE \"{database}\" IS 'mine'")
        assert "is not ours" in repository.refuses("db.migrate", cwd=ready, env={"WORKTREE_MIGRATE": "touch ran"})
        assert not (ready / "ran").exists()

    def test_no_tool(self, repository, ready):
        """Nothing to do is said, and is no failure."""
        result = repository.inv("db.migrate", cwd=ready)
        assert (result.returncode, result.stdout) == (0, "nothing to migrate: no tool is detected or configured\n")

    def test_what_the_command_gets(self, repository, ready):
        """The command runs in the worktree, with its DATABASE_URL, and its words are narration."""
        result = repository.inv(
            "db.migrate",
            cwd=ready,
            env={"WORKTREE_MIGRATE": "echo $DATABASE_URL; pwd; psql -c 'SELECT current_database()' -At"},
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"migrated {repository.databases()[0]}\n"
        assert f"  │ {ready}\n" in result.stderr
        assert f"  │ {repository.databases()[0]}\n" in result.stderr
        assert repository.url.partition("@")[0].rpartition(":")[2] not in result.stderr

    def test_preview(self, repository, ready):
        """`-R` names the command and does not run it."""
        result = repository.inv("-R", "db.migrate", cwd=ready, env={"WORKTREE_MIGRATE": "touch ran"})
        assert result.stdout == f"would migrate {repository.databases()[0]} by touch ran\n"
        assert not (ready / "ran").exists()


INI = "[alembic]\nscript_location = %(here)s/migrations\n"
ENV = """
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def write_revision(root, key, down):
    (root / "migrations" / "versions" / f"{key}_step.py").write_text(
        f"from alembic import op\nrevision = {key!r}\ndown_revision = {down!r}\n\n\n"
        f"def upgrade():\n    op.execute('CREATE TABLE table_{key} ()')\n"
    )


@pytest.fixture
def alembic(repository, monkeypatch):
    """Give a repository that migrates with Alembic, and a small golden template with its first revision."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    golden = f"{repository.prefix}_latest"
    repository.sql(f'CREATE DATABASE "{golden}"')
    for statement in (
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('one')",
        "CREATE TABLE person (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY)",
        "INSERT INTO person DEFAULT VALUES",
    ):
        repository.sql(statement, golden)
    env = repository.path / ".env"
    env.write_text(env.read_text().replace("loquent_latest", golden) + "WORKTREE_GENERATE=none\n")
    repository.url = repository.url.replace("loquent_latest", golden)
    (repository.path / "alembic.ini").write_text(INI)
    (repository.path / "migrations" / "versions").mkdir(parents=True)
    (repository.path / "migrations" / "env.py").write_text(ENV)
    write_revision(repository.path, "one", None)
    repository.commit("Migrate with Alembic")
    repository.golden = golden
    return repository


class TestStatus:
    def test_migrations(self, alembic):
        """Applied, pending, and those that golden has and the branch lacks."""
        there = alembic.worktree("a")
        created = alembic.json("worktree.create", "a")
        assert [step["title"] for step in created["steps"]][-2:] == [
            "migrate by alembic upgrade heads",
            "mark it ready",
        ]
        status = alembic.json("db.status", cwd=there)
        assert status["toolchain"] == "alembic"
        assert status["migrations"] == {"applied": ["one_step"], "pending": [], "missing": []}
        assert (status["golden"], status["tables"]) == (alembic.golden, 2)
        assert "***" in status["url"]

        write_revision(there, "two", "one")
        assert alembic.json("db.status", cwd=there)["migrations"]["pending"] == ["two_step"]
        assert alembic.json("db.migrate", cwd=there)["ran"] is True
        assert alembic.json("db.status", cwd=there)["migrations"] == {
            "applied": ["one_step", "two_step"],
            "pending": [],
            "missing": [],
        }

        alembic.sql("UPDATE alembic_version SET version_num = 'three'", alembic.golden)
        assert alembic.json("db.status", cwd=there)["migrations"]["missing"] == ["three"]
        said = alembic.inv("db.status", cwd=there).stdout
        assert "2 applied, 0 pending  (alembic)" in said
        assert "three  (golden has it, this branch lacks it)" in said
        # Alembic stops there; not every tool does.
        said = alembic.refuses("worktree.create", "b")
        assert f"warning: {alembic.golden} has migrations that this branch lacks: three" in said

    def test_migrations_of_the_branch(self, alembic):
        """`create` applies what the branch adds, on top of what golden has."""
        alembic.git("switch", "--quiet", "--create", "a")
        write_revision(alembic.path, "two", "one")
        alembic.commit("Second step")
        alembic.git("switch", "--quiet", "main")
        created = alembic.json("worktree.create", "a")
        tables = "SELECT relname FROM pg_class WHERE relname IN ('table_one', 'table_two') ORDER BY 1"
        assert alembic.sql(tables, created["database"]) == [("table_two",)]
        assert alembic.sql(tables, alembic.golden) == []

    def test_a_migration_that_fails(self, alembic):
        """Alembic's words are in the error, and everything is undone."""
        write_revision(alembic.path, "two", "nowhere")
        alembic.commit("Broken")
        assert "nowhere" in alembic.refuses("worktree.create", "a")

    def test_a_tool_that_passes_over_a_migration(self, alembic):
        """It ends well, and yet something is pending: an error for a tool, a warning for a command of the user's."""
        write_revision(alembic.path, "two", "one")
        (alembic.path / "migrations" / "env.py").write_text("# nothing is run\n")
        alembic.commit("Second step, and none of them")
        said = alembic.refuses("worktree.create", "a")
        assert "error: alembic exited with 0, but did not apply two_step\n" in said
        own = alembic.inv("worktree.create", "a", env={"WORKTREE_MIGRATE": "true"})
        assert own.returncode == 0, own.stderr
        assert "warning: `true` exited with 0, but these migrations are pending: two_step" in own.stderr

    def test_generated_code_goes_where_the_setting_says(self, alembic):
        """WORKTREE_GENERATE_TO names the file, relative to the worktree."""
        created = alembic.inv(
            "worktree.create", "a", env={"WORKTREE_GENERATE": "alembic", "WORKTREE_GENERATE_TO": "generated.py"}
        )
        assert created.returncode == 0, created.stderr
        generated = (alembic.worktree("a") / "generated.py").read_text()
        assert generated.startswith(MARK)
        assert "person" in generated
        assert not (alembic.path / "generated.py").exists()

    def test_without_a_tool(self, repository):
        """There is nothing to say about migrations then."""
        repository.json("worktree.create", "a")
        there = repository.worktree("a")
        assert repository.json("db.status", cwd=there)["migrations"] is None
        assert "no migration tool detected" in repository.inv("db.status", cwd=there).stdout


class TestVerify:
    def test_before_and_after_a_change(self, alembic):
        """A fresh clone is equal to golden in every check; a row more is a difference, and status 1."""
        database = alembic.json("worktree.create", "a")["database"]
        there = alembic.worktree("a")
        verified = alembic.json("db.verify", cwd=there)
        assert verified["equal"] is True
        assert verified["differences"] == []
        names = {check["name"] for check in verified["checks"]}
        assert names >= {"locale", "extensions", "tables", "rows", "sequences", "migration history alembic_version"}

        alembic.sql("INSERT INTO person DEFAULT VALUES", database)
        result = alembic.inv("db.verify", cwd=there)
        assert result.returncode == 1
        assert "differs" in next(line for line in result.stdout.splitlines() if line.startswith("rows"))
        assert "differs" in next(line for line in result.stdout.splitlines() if line.startswith("sequences"))
        assert "person" in result.stdout
        assert result.stderr == ""
