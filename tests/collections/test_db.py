"""The tasks of `db`, and `worktree.db`, in worktrees that plain git has created."""

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
    def test_setup_adopts_a_plain_worktree(self, repository, there):
        """It clones, writes the env file and migrates; a second run keeps the clone and its rows."""
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

    def test_setup_works_from_a_subfolder(self, repository, there):
        """It sets up the worktree that contains the current directory."""
        (there / "deep").mkdir()
        assert repository.json("worktree.db", cwd=there / "deep")["path"] == str(there)
        assert not (there / "deep" / ".env").exists()

    def test_a_failure_leaves_the_worktree_as_it_was(self, repository, there):
        """The worktree, its files and its env file stay; only what this call created is removed."""
        (there / ".env").write_text("MINE=1\n")
        (there / "note").write_text("precious")
        said = repository.refuses("worktree.db", cwd=there, env={"WORKTREE_MIGRATE": "exit 3"})
        assert "`exit 3` exited with 3" in said
        assert (there / "note").read_text() == "precious"

    def test_setup_edits_an_existing_env_file(self, repository, there):
        """An env file in the worktree is edited; the main worktree's is not copied over it."""
        (there / ".env").write_text("MINE=1\n")
        repository.json("worktree.db", cwd=there)
        assert repository.env("a").keys() >= {"MINE", "DATABASE_URL", "PORT"}
        assert "APP_HOST" not in repository.env("a")

    def test_dry_run_prints_the_plan(self, repository, there):
        """`-R` prints the plan and changes nothing."""
        before = repository.world()
        result = repository.inv("-R", "worktree.db", cwd=there)
        assert result.stdout.splitlines()[1:4] == [
            f"would adopt {there}",
            f"would clone loquent_latest into {repository.prefix}_a_86f7e4",
            "would point .env at it",
        ]
        assert repository.world() == before

    @pytest.mark.parametrize("task", ["worktree.db", "db.clone", "db.migrate", "db.generate", "db.status", "db.verify"])
    def test_main_worktree_is_refused(self, repository, task):
        """Its database is never touched."""
        said = repository.refuses(task, env={"WORKTREE_MIGRATE": "touch migrated"})
        assert f"`{repository.path}` is the main worktree" in said

    @pytest.mark.parametrize("task", ["db.migrate", "db.generate", "db.status", "db.verify"])
    def test_worktree_without_a_database_is_refused(self, repository, there, task):
        """In a worktree that is not set up, the hint is `worktree.db`."""
        said = repository.refuses(task, cwd=there, env={"WORKTREE_MIGRATE": "true", "WORKTREE_GENERATE": "true"})
        assert "hint: inv worktree.db" in said

    def test_conductors_port_is_used_in_its_workspace_only(self, repository, there):
        """CONDUCTOR_PORT is used in the workspace it was given to, and in no other."""
        port = {"CONDUCTOR_PORT": "55120", "CONDUCTOR_WORKSPACE_PATH": str(there.parent)}
        assert repository.json("-R", "worktree.db", cwd=there, env=port)["plan"]
        made = repository.json("worktree.create", "b", env=port)
        assert made["port"] != 55120
        made = repository.json("worktree.db", cwd=there, env={**port, "CONDUCTOR_WORKSPACE_PATH": str(there)})
        assert made["port"] == 55120
        assert repository.env("a")["PORT"] == "55120"

    def test_names_of_another_worktree_are_refused(self, repository, there):
        """A branch with the name that another worktree was created for cannot use that worktree's names."""
        repository.json("worktree.db", cwd=there)
        repository.git("branch", "--move", "a", "b")
        repository.git("worktree", "add", "--quiet", repository.worktree("again"), "-b", "a")
        said = repository.refuses("worktree.db", cwd=repository.worktree("again"))
        assert f"belong to the worktree at {there}" in said

    def test_recreated_worktree_keeps_its_database(self, repository, there):
        """A worktree that plain git removed and added again gets its previous database and port."""
        made = repository.json("worktree.db", cwd=there)
        repository.git("worktree", "remove", "--force", there)
        repository.git("worktree", "add", "--quiet", there, "a")
        again = repository.json("worktree.db", cwd=there)
        assert (again["database"], again["clone"]["method"]) == (made["database"], "kept")
        assert repository.env("a")["PORT"] == str(made["port"])


class TestClone:
    def test_clone_touches_only_the_database(self, repository, there):
        """The clone is created or kept; neither the env file nor the code changes."""
        migrate = {"WORKTREE_MIGRATE": "touch migrated"}
        assert repository.json("db.clone", cwd=there, env=migrate)["clone"]["method"] != "kept"
        assert repository.json("db.clone", cwd=there, env=migrate)["clone"]["method"] == "kept"
        assert not (there / ".env").exists()
        assert not (there / "migrated").exists()
        assert len(repository.databases()) == 1

    def test_missing_golden_is_an_error(self, repository, there):
        """The error names golden, and nothing is created."""
        said = repository.refuses("db.clone", cwd=there, env={"WORKTREE_TEMPLATE_DB": "nowhere"})
        assert "golden template `nowhere` does not exist" in said


class TestGuard:
    @pytest.fixture
    def ready(self, repository, there):
        repository.json("worktree.db", cwd=there)
        return there

    @pytest.mark.parametrize("task", ["db.migrate", "db.generate", "db.status", "db.verify"])
    def test_another_database_in_the_env_file_is_refused(self, repository, ready, task):
        """Nothing runs on a database that is not the worktree's; the error names the file."""
        (ready / ".env").write_text(f"DATABASE_URL={repository.url}\n")
        command = {"WORKTREE_MIGRATE": "touch ran", "WORKTREE_GENERATE": "touch ran"}
        said = repository.refuses(task, cwd=ready, env=command)
        assert "`DATABASE_URL` in `.env` names `loquent_latest`, the golden template" in said
        assert not (ready / "ran").exists()

    @pytest.mark.parametrize("task", ["db.migrate", "db.status", "worktree.db", "db.clone"])
    def test_another_database_in_the_environment_is_refused(self, repository, ready, task):
        """The environment wins over the file, and the error says so, without the password."""
        env = {"WORKTREE_MIGRATE": "touch ran", "DATABASE_URL": repository.url}
        said = repository.refuses(task, cwd=ready, env=env)
        assert "DATABASE_URL is exported in this shell and names database `loquent_latest`" in said
        assert "the environment overrides the env file" in said
        assert repository.url.partition("@")[0].rpartition(":")[2] not in said
        assert not (ready / "ran").exists()

    def test_own_url_in_the_environment_is_accepted(self, repository, ready):
        """Commands run if the shell exports the worktree's own URL."""
        url = repository.env("a")["DATABASE_URL"]
        result = repository.inv("db.migrate", cwd=ready, env={"WORKTREE_MIGRATE": "touch ran", "DATABASE_URL": url})
        assert result.returncode == 0, result.stderr
        assert (ready / "ran").exists()

    def test_database_with_another_comment_is_refused(self, repository, ready):
        """The name alone proves nothing: the comment must be this worktree's."""
        database = repository.databases()[0]
        repository.sql(f"COMMENT ON DATABASE \"{database}\" IS 'mine'")
        assert "is not ours" in repository.refuses("db.migrate", cwd=ready, env={"WORKTREE_MIGRATE": "touch ran"})
        assert not (ready / "ran").exists()

    def test_migrate_without_a_tool_succeeds(self, repository, ready):
        """It prints that there is nothing to migrate, and exits with 0."""
        result = repository.inv("db.migrate", cwd=ready)
        assert (result.returncode, result.stdout) == (0, "nothing to migrate: no tool is detected or configured\n")

    def test_migrate_command_gets_the_worktrees_database(self, repository, ready):
        """The command runs in the worktree with its DATABASE_URL, and its output goes to stderr."""
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

    def test_dry_run_names_the_command(self, repository, ready):
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
    def test_status_compares_branch_and_golden(self, alembic):
        """Migrations are applied, pending, or missing: golden has them, and the branch lacks them."""
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

    def test_create_applies_the_branchs_migrations(self, alembic):
        """The branch's new migration is applied to the clone and not to golden."""
        alembic.git("switch", "--quiet", "--create", "a")
        write_revision(alembic.path, "two", "one")
        alembic.commit("Second step")
        alembic.git("switch", "--quiet", "main")
        created = alembic.json("worktree.create", "a")
        tables = "SELECT relname FROM pg_class WHERE relname IN ('table_one', 'table_two') ORDER BY 1"
        assert alembic.sql(tables, created["database"]) == [("table_two",)]
        assert alembic.sql(tables, alembic.golden) == []

    def test_migrate_is_skipped_if_nothing_is_pending(self, alembic):
        """A clone that has every migration is not migrated; the setting and `db.migrate` do it all the same."""
        (alembic.path / "migrations" / "env.py").write_text("raise SystemExit('env.py has run')\n")
        alembic.commit("Fail whenever Alembic runs")
        assert (
            "(skipped if the clone has every migration of the branch)"
            in alembic.inv("-R", "worktree.create", "a").stdout
        )
        created = alembic.inv("worktree.create", "a")
        assert "migrate by alembic upgrade heads · 1 of 1 applied: nothing to migrate" in created.stderr
        assert "env.py has run" in alembic.refuses("db.migrate", cwd=alembic.worktree("a"))
        assert "env.py has run" in alembic.refuses("worktree.create", "b", env={"WORKTREE_MIGRATE_ALWAYS": "true"})

    def test_commands_are_skipped_only_if_their_history_is_declared(self, alembic):
        """A command of the team's own may do more than migrate, unless the settings say where its history is."""
        env = {"WORKTREE_MIGRATE": "touch ran"}
        assert alembic.inv("worktree.create", "a", env=env).returncode == 0
        assert (alembic.worktree("a") / "ran").exists()
        created = alembic.inv("worktree.create", "b", env={**env, "WORKTREE_HISTORY": "alembic"})
        assert "touch ran · 1 of 1 applied: nothing to migrate" in created.stderr
        assert not (alembic.worktree("b") / "ran").exists()
        assert "names no preset: liquid" in alembic.refuses("worktree.create", "c", env={"WORKTREE_HISTORY": "liquid"})

    def test_declared_history_says_what_is_applied(self, alembic):
        """A tool without a preset is compared with the table and the files that the setting names."""
        (alembic.path / "sql").mkdir()
        (alembic.path / "sql" / "one_person.sql").touch()
        table = r"{table: alembic_version, key: version_num, files: sql/*.sql, pattern: '^(\w+?)_'}"
        (alembic.path / "invoke.yaml").write_text(f"db:\n  migrate: touch ran\n  history: {table}\n")
        alembic.commit("Declare the history")
        created = alembic.inv("worktree.create", "a")
        assert "1 of 1 applied: nothing to migrate" in created.stderr, created.stderr

        there = alembic.worktree("a")
        (there / "sql" / "two_task.sql").touch()
        assert alembic.json("db.status", cwd=there)["migrations"]["pending"] == ["two_task.sql"]
        assert "migrate by touch ran (1 pending)" in alembic.inv("-R", "worktree.setup", cwd=there).stdout
        said = alembic.inv("worktree.setup", cwd=there).stderr
        assert "warning: `touch ran` exited with 0, but these migrations are pending: two_task.sql" in said
        assert (there / "ran").exists()

    def test_failed_migration_undoes_the_create(self, alembic):
        """The error has Alembic's message, and everything is undone."""
        write_revision(alembic.path, "two", "nowhere")
        alembic.commit("Broken")
        assert "nowhere" in alembic.refuses("worktree.create", "a")

    def test_skipped_migration_is_an_error(self, alembic):
        """A migration that is pending after a successful run is an error for a tool, and a warning for a command."""
        write_revision(alembic.path, "two", "one")
        (alembic.path / "migrations" / "env.py").write_text("# nothing is run\n")
        alembic.commit("Second step, and none of them")
        said = alembic.refuses("worktree.create", "a")
        assert "error: alembic exited with 0, but did not apply two_step\n" in said
        assert f"  it did not migrate `{alembic.prefix}_latest` either\n" in said
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

    def test_status_names_an_unreadable_migrate_command(self, repository):
        """Where a command migrates and no tool is detected, both statuses name the command."""
        env = {"WORKTREE_MIGRATE": "true"}
        repository.json("worktree.create", "a", env=env)
        expected = "applied by `true`, whose migration history goldentree cannot read"
        for task in ("db.status", "worktree.status"):
            assert expected in repository.inv(task, cwd=repository.worktree("a"), env=env).stdout

    def test_status_without_a_migration_tool(self, repository):
        """Without a tool and a command, the status says that no tool was detected."""
        repository.json("worktree.create", "a")
        there = repository.worktree("a")
        assert repository.json("db.status", cwd=there)["migrations"] is None
        assert "no migration tool detected" in repository.inv("db.status", cwd=there).stdout


class TestVerify:
    def test_verify_finds_a_new_row(self, alembic):
        """A fresh clone is equal to golden in every check; with another row, verify exits with 1."""
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
