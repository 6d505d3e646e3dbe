"""The tasks of `worktree`, run through `inv`."""

from __future__ import annotations

import subprocess
import sys


def test_create_gives_a_branch_its_own_everything(repository):
    """A new branch gets a worktree, a clone, a port, and an env file that differs in those keys only."""
    result = repository.inv("worktree.create", "feat/oauth_v2")

    assert result.returncode == 0, result.stderr
    assert f"{repository.prefix}_oauth_v2_b2b4c8" in result.stdout
    assert repository.databases() == [f"{repository.prefix}_oauth_v2_b2b4c8"]
    before, after = repository.env(), repository.env("feat/oauth_v2")
    changed = {key for key in after if before.get(key) != after[key]}
    assert changed == {"PORT", "DATABASE_URL", "WORKTREE_SLUG", "WORKTREE_SUBDOMAIN", "WORKTREE_BRANCH"}
    assert after["WORKTREE_SLUG"] == "oauth_v2_b2b4c8"


def test_create_answers_in_json(repository):
    """The document has the worktree's names, the clone, and each step with its time."""
    created = repository.json("worktree.up", "a")
    steps = [step["title"].partition(" ")[0] for step in created.pop("steps")]
    clone = created.pop("clone")
    assert created == {
        "branch": "a",
        "slug": "a_86f7e4",
        "path": str(repository.worktree("a")),
        "database": f"{repository.prefix}_a_86f7e4",
        "port": int(repository.env("a")["PORT"]),
        "ports": {},
        "number": 1,
        "dev_url": "https://a.app.localhost",
        "base": repository.git("rev-parse", "main"),
        "tracks": None,
    }
    assert clone.keys() == {"method", "seconds", "bytes"}
    assert clone["bytes"] > 2**20
    assert sorted(steps) == ["check", "clone", "mark", "point", "record"]


def test_dry_run_changes_nothing(repository):
    """`-R` prints the plan on stdout and changes nothing."""
    before = repository.world()
    result = repository.inv("-R", "worktree.create", "a", env={"WORKTREE_MIGRATE": "just migrate"})
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "would record a_86f7e4 and lease a port",
        f"would clone loquent_latest into {repository.prefix}_a_86f7e4",
        f"would check out a at {repository.worktree('a')}",
        "would point .env at it",
        "would rename databases in env files",
        "would migrate by just migrate",
        "would mark it ready",
    ]
    assert repository.json("-R", "worktree.create", "a")["plan"][0].startswith("record a")
    assert repository.world() == before


def test_no_db_creates_no_database(repository):
    """With `--no-db` the env file names the database that `worktree.db` creates later."""
    result = repository.inv("worktree.create", "a", "--no-db", env={"WORKTREE_MIGRATE": "exit 1"})
    assert result.returncode == 0, result.stderr
    assert "(not created: inv worktree.setup)" in result.stdout
    assert repository.databases() == []
    assert repository.env("a")["DATABASE_URL"].endswith("_a_86f7e4")
    added = repository.json("worktree.db", cwd=repository.worktree("a"), env={"WORKTREE_MIGRATE": "touch migrated"})
    assert repository.databases() == [added["database"]]
    assert added["clone"]["method"] != "kept"
    assert (repository.worktree("a") / "migrated").exists()


def test_shared_files_are_copied_or_linked(repository):
    """Files that the settings name are copied or linked; a file that the branch has stays as it is."""
    (repository.path / "invoke.yaml").write_text(
        "worktree:\n  copy: [seed.env, conf/local.toml, tasks.py, absent]\n  link: [node_modules]\n"
        "  env: {VITE_PORT: '{port}', HOST: '{subdomain}'}\n"
    )
    (repository.path / "conf").mkdir()
    (repository.path / "node_modules").mkdir()
    for name in ("seed.env", "conf/local.toml"):
        (repository.path / name).write_text("mine")
    (repository.path / "tasks.py").write_text("changed, and not committed")
    result = goldentree(repository, "worktree.create", "a")
    assert result.returncode == 0, result.stderr
    there = repository.worktree("a")
    assert (there / "seed.env").read_text() == (there / "conf" / "local.toml").read_text() == "mine"
    assert (there / "node_modules").resolve() == repository.path / "node_modules"
    assert (there / "tasks.py").read_text() == "from tasks_lib import ns\n"
    assert repository.env("a")["VITE_PORT"] == repository.env("a")["PORT"]
    assert repository.env("a")["HOST"] == "a"


def test_file_that_cannot_be_copied_undoes_the_create(repository):
    """A file that is in the way is an error, and everything is undone."""
    (repository.path / "invoke.yaml").write_text("worktree:\n  copy: [tasks.py/inner]\n")
    repository.commit("Settings")
    (repository.path / "tasks.py").unlink()
    (repository.path / "tasks.py").mkdir()
    (repository.path / "tasks.py" / "inner").write_text("x")
    before = repository.world()
    result = goldentree(repository, "worktree.create", "a")
    assert result.returncode == 1
    assert "error: `tasks.py/inner` cannot be copied" in result.stderr
    assert "Traceback" not in result.stderr
    assert repository.world() == before


def test_list_shows_every_worktree(repository):
    """Every worktree has a row with its names, also one that plain git created."""
    created = repository.json("worktree.create", "a")
    repository.git("worktree", "add", "--quiet", "--detach", repository.worktree("plain"))
    rows = {row["state"]: row for row in repository.json("worktree.list", cwd=repository.worktree("a"))}
    keys = ("branch", "path", "slug", "database", "port", "dev_url")
    assert {key: rows["ready"][key] for key in keys} == {key: created[key] for key in keys}
    assert (rows["main"]["branch"], rows["main"]["path"]) == ("main", str(repository.path))
    assert (rows["unmanaged"]["branch"], rows["unmanaged"]["database"]) == (None, None)
    heading, *lines = repository.inv("worktree.list").stdout.splitlines()
    assert heading.split() == ["BRANCH", "STATE", "GIT", "DATABASE", "SIZE", "DRIFT", "PORT", "AGE", "PATH"]
    assert lines[1].startswith("a           ready      clean  ")
    assert lines[1].endswith(created["path"])
    assert lines[2].startswith("(detached)  unmanaged")


def test_list_needs_no_server(repository):
    """Worktrees are listed even if no server answers."""
    repository.json("worktree.create", "a")
    env = {"DATABASE_URL": "postgresql://ada@127.0.0.1:1/x"}
    assert len(repository.json("worktree.list", env=env)) == 2
    assert repository.inv("worktree.path", "a", env=env).stdout == f"{repository.worktree('a')}\n"


def test_closed_pipe_leaves_no_traceback(repository):
    """`| head` leaves no traceback."""
    command = f'set -o pipefail; "{sys.executable}" -m invoke worktree.list | head -0'
    result = subprocess.run(["bash", "-c", command], cwd=repository.path, capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_path_of_an_unknown_worktree_is_refused(repository):
    """The error says that the branch has no worktree, or that the main worktree has it."""
    assert "no worktree of `b` was found" in repository.refuses("worktree.path", "b")
    assert "checked out in the main worktree" in repository.refuses("worktree.path", "main")


def goldentree(repository, *arguments, cwd=None):
    """Run the standalone binary."""
    return subprocess.run(
        [sys.executable, "-c", "from tasks_lib.program import main; main()", *arguments],
        cwd=cwd or repository.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
