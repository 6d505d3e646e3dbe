"""`worktree.setup` in a worktree that another program created: files, companions and commands, once each."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest

TEAM = """
worktree:
  copy: [seed.env, .vercel]
  link: [vendor]
  write:
    agent/browser.json: '{{"sessionName": "{session}"}}'
  env:
    DIRECT_URL: "{{database_url}}"
  ports: [web, api]
  after_setup:
    - echo "$PORT $WORLD_URL $GOLDENTREE [$PULL_DATABASE_URL]" >> installed
db:
  template: loquent_latest
  prefix: {prefix}
  migrate: echo "$DATABASE_URL" >> migrated
  generate: echo x >> generated
  companions:
    - name: world{prefix}
      env: WORLD_URL
      template: template{prefix}
      setup: echo "$WORLD_URL $DATABASE_URL $PGDATABASE" >> world
    - {{name: queue{prefix}, env: QUEUE_URL}}
"""


@pytest.fixture
def team(repository):
    """Give a repository whose team uses every setting, and a worktree of branch `a` created by plain git."""
    main = repository.path
    (main / "invoke.yaml").write_text(TEAM.format(prefix=repository.prefix, session="{session}"))
    (main / ".vercel").mkdir()
    (main / ".vercel" / "project.json").write_text("{}")
    (main / "vendor").mkdir()
    (main / ".gitignore").write_text(".env*\nseed.env\n.vercel\nvendor/\n")
    (main / "seed.env").write_text("SEED=1\n")
    with (main / ".env").open("a") as file:
        file.write("PULL_DATABASE_URL=postgresql://ada:s3cret@production/app\n")
        file.write("LEDGER_URL=postgresql://ada:s3cret@127.0.0.1:1/ledger\n")
    repository.sql(f"CREATE DATABASE template{repository.prefix}")
    repository.sql("CREATE TABLE workflow AS SELECT 1", f"template{repository.prefix}")
    repository.commit("Team")
    repository.there = repository.worktree("a")
    repository.git("worktree", "add", "--quiet", repository.there, "-b", "a")
    yield repository
    for (name,) in repository.sql("SELECT datname FROM pg_database"):
        if repository.prefix in name:
            repository.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def lines(path):
    return path.read_text().splitlines()


def companions(repository):
    names = (name for (name,) in repository.sql("SELECT datname FROM pg_database ORDER BY 1"))
    return [name for name in names if name.startswith(("world" + repository.prefix, "queue" + repository.prefix))]


def test_setup_does_everything_once(team):
    """Everything is there and named in the env file; a second run does nothing and loses nothing."""
    there, port = team.there, {"CONDUCTOR_PORT": "55120", "CONDUCTOR_WORKSPACE_PATH": str(team.there)}
    made = team.json("worktree.setup", cwd=there, env=port)
    env, world, queue = team.env("a"), f"world{team.prefix}_a_86f7e4", f"queue{team.prefix}_a_86f7e4"
    assert (made["port"], env["PORT"], made["ports"]) == (55120, "55120", {"web": 55120, "api": 55121})
    assert companions(team) == [queue, world]
    assert env["WORLD_URL"] == env["DATABASE_URL"].replace(made["database"], world)
    assert env["QUEUE_URL"] == env["DATABASE_URL"].replace(made["database"], queue)
    assert env["DIRECT_URL"] == env["DATABASE_URL"]
    assert team.sql("SELECT * FROM workflow", world) == [(1,)]
    assert team.sql("SELECT to_regclass('workflow')", queue) == [(None,)]
    assert (there / ".vercel" / "project.json").read_text() == "{}"
    assert (there / "vendor").readlink() == team.path / "vendor"
    assert json.loads((there / "agent" / "browser.json").read_text()) == {"sessionName": "app-a_86f7e4"}
    assert stat.S_IMODE((there / "agent" / "browser.json").stat().st_mode) == 0o600
    assert lines(there / "installed") == [f"55120 {env['WORLD_URL']} 1 []"]
    # A worktree does not get the URLs of production and of the ledger.
    assert "s3cret" not in (there / ".env").read_text()
    # A setup command cannot confuse the worktree's own database with the companion's.
    assert lines(there / "world") == [f"{env['WORLD_URL']} {env['WORLD_URL']} {world}"]
    # git ignores the files that were copied and written.
    status = set(team.git("status", "--porcelain", cwd=there).splitlines())
    assert status == {"?? generated", "?? installed", "?? migrated", "?? world"}

    team.sql("CREATE TABLE mine AS SELECT 1", made["database"])
    (there / "agent" / "browser.json").write_text("mine")
    again = team.inv("worktree.setup", cwd=there)
    assert again.returncode == 0, again.stderr
    assert "agent/browser.json exists already with other content, and stays" in again.stderr
    assert (there / "agent" / "browser.json").read_text() == "mine"
    assert team.sql("SELECT * FROM mine", made["database"]) == [(1,)]
    assert [len(lines(there / name)) for name in ("installed", "world", "migrated", "generated")] == [1, 1, 1, 1]
    assert team.records()["a_86f7e4"]["port"] == 55120

    listed = team.json("db.companions", cwd=there)
    assert [(companion["database"], companion["exists"]) for companion in listed] == [(world, True), (queue, True)]

    # A dropped database is created again, with the commands that run on it ...
    team.sql(f'DROP DATABASE "{world}"')
    assert "missing: inv worktree.setup" in team.inv("db.companions", cwd=there).stdout
    team.json("worktree.setup", cwd=there)
    assert [len(lines(there / name)) for name in ("installed", "world", "migrated")] == [1, 2, 1]
    # ... and so is everything in a worktree that was created again.
    team.git("worktree", "remove", "--force", there)
    team.git("worktree", "add", "--quiet", there, "a")
    team.json("worktree.setup", cwd=there)
    assert [len(lines(there / name)) for name in ("installed", "migrated", "generated")] == [1, 1, 1]
    assert not (there / "world").exists()
    assert team.sql("SELECT * FROM mine", made["database"]) == [(1,)]

    # worktree.db migrates every time.
    team.json("worktree.db", cwd=there)
    assert [len(lines(there / name)) for name in ("installed", "migrated", "generated")] == [1, 2, 2]

    # Companions that the settings no longer list are removed and restored with the worktree.
    (team.path / "invoke.yaml").write_text(f"db: {{template: loquent_latest, prefix: {team.prefix}}}\n")
    team.json("worktree.remove", "a", "--force")
    assert all("_parked_" in name for name in companions(team))
    team.json("worktree.undo", "a")
    assert companions(team) == [queue, world]


def test_failure_undoes_what_this_run_created(team):
    """Databases, env file, files, folders and links are removed; the user's work stays."""
    (team.there / "note").write_text("precious")
    before = sorted(team.there.rglob("*"))
    failed = team.inv("worktree.setup", cwd=team.there, env={"WORKTREE_MIGRATE": "exit 3"})
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "`exit 3` exited with 3" in failed.stderr
    assert "hint: fix it, then run:\n      inv worktree.setup" in failed.stderr
    assert (team.databases(), companions(team), team.records()) == ([], [], {})
    left = [path for path in sorted(team.there.rglob("*")) if path.name not in ("installed", "world")]
    assert left == before


def test_reset_replaces_the_databases(team):
    """A failing migration restores the previous ones at once; otherwise undo restores them."""
    there = team.there
    made = team.json("worktree.setup", cwd=there)
    team.sql("CREATE TABLE mine AS SELECT 1", made["database"])
    world = f"world{team.prefix}_a_86f7e4"
    team.sql("CREATE TABLE mine AS SELECT 2", world)
    record = team.records()
    failed = team.inv("db.reset", cwd=there, env={"WORKTREE_MIGRATE": "exit 3"})
    assert (failed.returncode, failed.stdout) == (1, ""), failed.stderr
    assert "`exit 3` exited with 3" in failed.stderr
    assert team.records() == record
    assert team.sql("SELECT * FROM mine", made["database"]) == [(1,)]
    assert team.sql("SELECT * FROM mine", world) == [(2,)]
    assert len(companions(team)) == 2

    result = team.inv("db.reset", cwd=there)
    assert result.returncode == 0, result.stderr
    assert "inv worktree.undo a_86f7e4" in result.stdout
    for database in (made["database"], world):
        assert team.sql("SELECT to_regclass('mine')", database) == [(None,)]
    assert [len(lines(there / name)) for name in ("installed", "world", "migrated")] == [1, 3, 2]
    team.json("worktree.undo", "a")
    assert team.sql("SELECT * FROM mine", made["database"]) == [(1,)]
    assert team.sql("SELECT * FROM mine", world) == [(2,)]

    # A missing database is replaced as well.
    team.sql(f'DROP DATABASE "{made["database"]}"')
    parked = team.json("db.reset", cwd=there)["parked"]
    assert list(parked) == [world, f"queue{team.prefix}_a_86f7e4"]
    assert all(now.startswith(f"{before}_parked_") for before, now in parked.items())
    assert team.sql("SELECT count(*) > 0 FROM contact", made["database"]) == [(True,)]


def test_setup_refuses_before_any_change(team):
    """The main worktree; a companion with an impossible name or template; a worktree moved by hand."""
    assert "is the main worktree" in team.refuses("worktree.setup")
    name = f"queue{team.prefix}_a_86f7e4"
    team.sql(f'CREATE DATABASE "{name}"')
    assert f"database `{name}` is not ours" in team.refuses("worktree.setup", cwd=team.there)
    team.sql(f'DROP DATABASE "{name}"')
    text = (team.path / "invoke.yaml").read_text()
    (team.path / "invoke.yaml").write_text(text.replace(f"template: template{team.prefix}", "template: nowhere"))
    said = team.refuses("worktree.create", "b")
    assert "golden template `nowhere` does not exist" in said
    assert f"correct the template of `world{team.prefix}` in `db.companions`" in said
    (team.path / "invoke.yaml").write_text(text.replace(f"name: queue{team.prefix}", f"name: {team.prefix}"))
    assert "would both be named" in team.refuses("worktree.create", "b")
    (team.path / "invoke.yaml").write_text(text)
    moved = team.there.rename(team.there.with_name("moved"))
    assert "hint: git worktree repair" in team.refuses("worktree.setup", cwd=moved)
    team.git("worktree", "repair", cwd=moved)
    assert team.inv("-R", "worktree.setup", cwd=moved).returncode == 0


def test_setup_finishes_after_a_clone(repository):
    """`db.clone` does not make a worktree ready; a pending migration makes `worktree.setup` run the tool."""
    there = repository.worktree("a")
    repository.git("worktree", "add", "--quiet", there, "-b", "a")
    repository.json("db.clone", cwd=there)
    assert repository.records()["a_86f7e4"]["state"] == "creating"
    repository.json("worktree.setup", cwd=there)
    assert repository.records()["a_86f7e4"]["state"] == "ready"


def test_portless_serves_the_dev_url(repository, tmp_path, monkeypatch):
    """With portless installed, the dev URL leads to the port until the removal; an error of portless is a warning."""
    program, told = tmp_path / "bin" / "portless", tmp_path / "told"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    made = repository.json("worktree.create", "feat/oauth_v2")
    assert lines(told) == [f"alias oauth-v2.app {made['port']}"]
    shown = repository.inv("worktree.status", cwd=repository.worktree("feat/oauth_v2")).stdout
    assert "https://oauth-v2.app.localhost" in shown
    repository.json("worktree.remove", "feat/oauth_v2")
    assert lines(told)[1:] == ["alias --remove oauth-v2.app"]
    program.write_text("#!/bin/sh\necho no proxy >&2; exit 1\n")
    result = repository.inv("worktree.create", "b")
    assert result.returncode == 0
    assert "warning: portless cannot serve https://b.app.localhost: no proxy" in result.stderr
    assert f"http://localhost:{repository.records()['b_e9d71f']['port']}" in result.stdout
    assert repository.inv("worktree.create", "c", env={"PORTLESS": "0"}).stderr.count("with portless") == 0


class TestDetachedHead:
    """Agents' applications create worktrees without a branch, each in a directory with the repository's name."""

    @pytest.fixture
    def there(self, repository, tmp_path):
        for number in (1, 2):
            repository.git("worktree", "add", "--quiet", "--detach", tmp_path.resolve() / f"agents/{number}/app")
        return tmp_path.resolve() / "agents/1/app"

    def test_names_come_from_the_path_and_stay(self, repository, there):
        """Two of them do not share anything, and a branch that is created later changes nothing."""
        created = repository.json("worktree.setup", cwd=there)
        other = repository.json("worktree.setup", cwd=there.parents[1] / "2/app")
        names = ("slug", "database", "port", "dev_url")
        assert all(created[name] != other[name] for name in names)
        assert created["slug"].startswith("app_")
        repository.git("switch", "--quiet", "--create", "later", cwd=there)
        again = repository.json("worktree.setup", cwd=there)
        assert [again[name] for name in names] == [created[name] for name in names]
        status = repository.json("worktree.status", "later")
        assert (status["own"], status["slug"], status["problems"]) == (True, created["slug"], [])

    def test_every_task_works_in_it(self, repository, there):
        """Also without a branch: list, status, reset, removal, undo and gc."""
        created = repository.json("worktree.setup", cwd=there)
        rows = {row["path"]: row for row in repository.json("worktree.list")}
        assert (rows[str(there)]["branch"], rows[str(there)]["state"]) == (None, "ready")
        assert repository.json("worktree.status", cwd=there)["problems"] == []
        repository.json("db.reset", cwd=there)
        assert repository.json("db.status", cwd=there)["database"] == created["database"]
        (there / "note").write_text("work")
        repository.refuses("worktree.remove", created["slug"])
        repository.json("worktree.remove", there, "--force")
        assert created["database"] not in repository.databases()
        repository.json("worktree.undo", created["slug"])
        assert (there / "note").read_text() == "work"
        assert repository.json("worktree.status", cwd=there)["problems"] == []
        (there.parent / "log").touch()  # an empty directory may be a volume that is not mounted
        shutil.rmtree(there)
        assert [row["outcome"] for row in repository.json("worktree.gc", "--yes") if row["kind"] == "worktree"] == [
            "parked"
        ]
        repository.json("worktree.undo", created["slug"])
        assert repository.json("worktree.status", cwd=there)["own"]
