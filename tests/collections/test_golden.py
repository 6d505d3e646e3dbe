"""`golden.*`, as a user runs them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest


@pytest.fixture
def own(repository, server_url):
    """Give the repository its own small golden template, with another program's session on it."""
    golden = f"{repository.prefix}_latest"
    repository.sql(f'CREATE DATABASE "{golden}" TEMPLATE template0 STRATEGY file_copy')
    repository.sql("CREATE TABLE contact AS SELECT 1 AS id", golden)
    env = repository.path / ".env"
    lines = [line for line in env.read_text().splitlines() if not line.startswith("WORKTREE_TEMPLATE_DB")]
    env.write_text("\n".join([*lines, f"WORKTREE_TEMPLATE_DB={golden}", ""]))
    with psycopg.connect(server_url, dbname=golden, application_name="dev server", autocommit=True) as session:
        yield session


def test_status_shows_golden_and_its_snapshot(repository, own):
    """It shows size, sessions and fingerprint, and the age of the snapshot."""
    assert "none; a clone takes one" in repository.inv("golden.status").stdout
    repository.json("worktree.create", "a")
    shown = repository.inv("golden.status").stdout
    status = repository.json("golden.status")

    assert f"golden       {repository.prefix}_latest" in shown
    assert "s ago; current" in shown
    assert "dev server" in shown
    assert [session["application"] for session in status["sessions"]] == ["dev server"]
    [(size,)] = repository.sql(f"SELECT pg_database_size('{repository.prefix}_latest')")
    assert abs(status["bytes"] - size) < 100_000
    assert status["snapshot"]["fingerprint"] == status["fingerprint"]
    assert 0 < status["snapshot"]["age_seconds"] < 300


def test_status_says_that_golden_changed(repository, own):
    """`changed` is true as soon as golden differs from its snapshot."""
    repository.json("golden.refresh")
    assert repository.json("golden.status")["changed"] is False
    own.execute("COMMENT ON TABLE contact IS 'new'")
    assert "golden has changed since" in repository.inv("golden.status").stdout
    assert repository.json("golden.status")["changed"] is True


def test_refresh_in_a_dry_run(repository, own):
    """`-R` takes no snapshot."""
    assert repository.inv("-R", "golden.refresh").stdout.startswith("would take a snapshot of")
    assert repository.json("golden.status")["snapshot"] is None


def test_refresh_keeps_a_current_snapshot(repository, own):
    """A current snapshot is replaced only with --fresh."""
    first = repository.json("golden.refresh")
    again = repository.json("golden.refresh")
    fresh = repository.json("golden.refresh", "--fresh")

    assert (first["built"], again["built"], fresh["built"]) == (True, False, True)
    assert first["database"] == again["database"] != fresh["database"]
    assert first["fingerprint"] == fresh["fingerprint"]
    assert fresh["taken"] > first["taken"]


def test_refresh_replaces_an_outdated_snapshot(repository, own):
    """If golden has changed, a new snapshot is taken, and the next clone uses it."""
    first = repository.json("golden.refresh")
    own.execute("COMMENT ON TABLE contact IS 'new'")
    changed = repository.json("golden.refresh")
    assert changed["built"]
    assert changed["database"] != first["database"]
    result = repository.inv("worktree.create", "a")
    assert result.returncode == 0, result.stderr
    assert " is current: " in result.stderr


def test_fresh_takes_a_new_snapshot(repository, own):
    """`worktree.create --fresh` does not use a current snapshot."""
    repository.json("golden.refresh")
    assert " was taken just now: " in repository.inv("worktree.create", "a", "--fresh").stderr


def test_evict_ends_idle_sessions_only(repository, own):
    """`worktree.create --evict` refuses while a session is in a transaction, and ends an idle one."""
    own.execute("BEGIN")
    refused = repository.inv("worktree.create", "b", "--fresh", "--evict")
    assert refused.returncode == 1
    assert "(dev server) is idle in transaction" in refused.stderr
    assert "b" not in repository.git("branch", "--list", "b")
    own.execute("ROLLBACK")
    assert repository.inv("worktree.create", "b", "--fresh", "--evict").returncode == 0
    with pytest.raises(psycopg.OperationalError):
        own.execute("SELECT 1")


def test_max_age_accepts_an_outdated_snapshot(repository, own):
    """With WORKTREE_GOLDEN_MAX_AGE a young snapshot is used without a check, and the output says so."""
    repository.json("golden.refresh")
    own.execute("COMMENT ON TABLE contact IS 'new'")
    result = repository.inv("worktree.create", "a", env={"WORKTREE_GOLDEN_MAX_AGE": "10m"})

    assert "is younger than WORKTREE_GOLDEN_MAX_AGE: " in result.stderr


def test_max_age_must_be_a_duration(repository):
    """The error names the value and where it is set."""
    wrong = repository.refuses("worktree.create", "b", env={"WORKTREE_GOLDEN_MAX_AGE": "soon"})
    assert "`soon` in environment is not a duration" in wrong


def test_spares_are_made_in_the_background(repository, own):
    """A create starts making spares, the next create uses one, and with 0 they are dropped."""
    wanted = {"WORKTREE_SPARES": "1"}
    repository.json("worktree.create", "a", env=wanted)
    deadline = time.monotonic() + 60
    while repository.json("golden.status")["spares"]["ready"] < 1:
        assert time.monotonic() < deadline, (repository.path / ".git/goldentree/tidy.log").read_text()
    made = repository.json("worktree.create", "b")

    assert made["clone"]["method"] == "spare"
    assert repository.json("golden.tidy", env=wanted)["spares"] == {"ready": 1, "wanted": 1}
    assert repository.json("golden.tidy")["spares"] == {"ready": 0, "wanted": 0}
    assert "is not a number of spares" in repository.refuses("golden.tidy", env={"WORKTREE_SPARES": "-1"})


def test_outdated_snapshots_are_dropped(repository, own):
    """The previous snapshot is dropped in the background, by golden.refresh at once."""
    first = repository.json("golden.refresh")["database"]
    own.execute("COMMENT ON TABLE contact IS 'new'")
    repository.json("worktree.create", "a")
    exists = f"SELECT 1 FROM pg_database WHERE datname = '{first}'"
    deadline = time.monotonic() + 60
    while repository.sql(exists):
        assert time.monotonic() < deadline, (repository.path / ".git/goldentree/tidy.log").read_text()
    own.execute("COMMENT ON TABLE contact IS 'newer'")
    second = repository.json("golden.status")["snapshot"]["database"]
    repository.json("golden.refresh")
    assert second not in {name for (name,) in repository.sql("SELECT datname FROM pg_database")}
    assert "would drop the outdated snapshots" in repository.inv("-R", "golden.tidy").stdout
    assert repository.json("golden.tidy")["dropped"] == []


def test_eight_creates_share_one_dump(repository, own):
    """Eight concurrent creates with an outdated snapshot succeed, and only one of them dumps golden."""
    repository.json("golden.refresh")
    own.execute("COMMENT ON TABLE contact IS 'new'")
    branches = [f"b{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda branch: repository.inv("worktree.create", branch), branches))

    assert [result.returncode for result in results] == [0] * 8, [result.stderr for result in results]
    said = "".join(result.stderr for result in results)
    assert said.count("dumping ") == 1
    for branch in branches:
        database = repository.env(branch)["DATABASE_URL"].rpartition("/")[2]
        assert repository.sql("SELECT obj_description('contact'::regclass)", database) == [("new",)]


@pytest.fixture
def promotable(repository, own):
    """Create a worktree whose database has a new table, and return the database's name."""
    database = repository.json("worktree.create", "a")["database"]
    repository.sql("CREATE TABLE promoted (i int)", database)
    return database


def test_promote_refuses_a_golden_in_use(repository, promotable):
    """It is refused in the main worktree, and while a session is connected to golden; `-R` changes nothing."""
    here, golden = repository.worktree("a"), f"{repository.prefix}_latest"
    assert "is the main worktree" in repository.refuses("golden.promote")
    assert "1 session is connected" in repository.refuses("golden.promote", cwd=here)
    assert "would make a copy" in repository.inv("-R", "golden.promote", "--evict", cwd=here).stdout
    assert repository.sql("SELECT to_regclass('promoted')", golden) == [(None,)]


def test_promote_copies_the_worktrees_database(repository, promotable):
    """Golden is a copy of the worktree's database, which the worktree keeps; the previous golden is parked."""
    golden = f"{repository.prefix}_latest"
    made = repository.json("golden.promote", "--evict", cwd=repository.worktree("a"))

    assert made["from"] == promotable
    assert repository.sql("SELECT count(*) FROM promoted", golden) == [(0,)]
    assert made["parked"] in {name for (name,) in repository.sql("SELECT datname FROM pg_database")}
    assert repository.sql("SELECT count(*) FROM promoted", promotable) == [(0,)]


def test_undo_restores_the_parked_golden(repository, promotable):
    """`golden.undo` restores the previous golden template, and a second one undoes the first."""
    golden = f"{repository.prefix}_latest"
    made = repository.json("golden.promote", "--evict", cwd=repository.worktree("a"))
    assert f"would make {made['parked']} the golden template" in repository.inv("-R", "golden.undo").stdout
    undone = repository.json("golden.undo", "--evict")
    assert (undone["golden"], undone["from"]) == (golden, made["parked"])
    assert repository.sql("SELECT to_regclass('promoted')", golden) == [(None,)]
    assert repository.json("golden.undo")["from"] == undone["parked"], "the undo is undone"
    assert repository.sql("SELECT count(*) FROM promoted", golden) == [(0,)]
