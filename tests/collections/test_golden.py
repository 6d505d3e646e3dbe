"""`golden.*`, as a user runs them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tasks_lib.loquent.fixture import create_fixture


@pytest.fixture
def own(repository, server_url):
    """Give the repository a golden template of its own, and a session of somebody else's on it."""
    golden = f"{repository.prefix}_latest"
    create_fixture(server_url, golden)
    env = repository.path / ".env"
    lines = [line for line in env.read_text().splitlines() if not line.startswith("WORKTREE_TEMPLATE_DB")]
    env.write_text("\n".join([*lines, f"WORKTREE_TEMPLATE_DB={golden}", ""]))
    with psycopg.connect(server_url, dbname=golden, application_name="dev server", autocommit=True) as session:
        yield session


def test_status(repository, own):
    """It tells size, fingerprint, sessions, the snapshot with its age, and whether golden has changed since."""
    golden = f"{repository.prefix}_latest"
    assert "none; a clone takes one" in repository.inv("golden.status").stdout
    repository.json("worktree.create", "a")
    shown = repository.inv("golden.status").stdout
    told = repository.json("golden.status")

    assert f"golden       {golden}" in shown
    assert "s ago; current" in shown
    assert "dev server" in shown
    assert [one["application"] for one in told["sessions"]] == ["dev server"]
    assert told["bytes"] > 12_000_000
    assert told["changed"] is False
    assert told["snapshot"]["fingerprint"] == told["fingerprint"]
    assert 0 < told["snapshot"]["age_seconds"] < 300
    own.execute("COMMENT ON TABLE contact IS 'new'")
    assert "golden has changed since" in repository.inv("golden.status").stdout
    assert repository.json("golden.status")["changed"] is True


def test_refresh(repository, own):
    """A snapshot is taken; again only when golden has changed or it is asked for; a dry run takes none."""
    assert repository.inv("-R", "golden.refresh").stdout.startswith("would take a snapshot of")
    assert repository.json("golden.status")["snapshot"] is None
    first = repository.json("golden.refresh")
    again = repository.json("golden.refresh")
    fresh = repository.json("golden.refresh", "--fresh")

    assert (first["built"], again["built"], fresh["built"]) == (True, False, True)
    assert first["database"] == again["database"] != fresh["database"]
    assert first["fingerprint"] == fresh["fingerprint"]
    assert fresh["taken"] > first["taken"]
    own.execute("COMMENT ON TABLE contact IS 'new'")
    changed = repository.json("golden.refresh")
    assert changed["built"]
    assert changed["database"] != first["database"]
    result = repository.inv("worktree.create", "a")
    assert result.returncode == 0, result.stderr
    assert " is current: " in result.stderr


def test_fresh_and_evict(repository, own):
    """`worktree.create` takes a new snapshot on demand, and ends idle sessions on demand, and only idle ones."""
    repository.json("golden.refresh")
    assert " was taken just now: " in repository.inv("worktree.create", "a", "--fresh").stderr
    own.execute("BEGIN")
    refused = repository.inv("worktree.create", "b", "--fresh", "--evict")
    assert refused.returncode == 1
    assert "(dev server) is idle in transaction" in refused.stderr
    assert "b" not in repository.git("branch", "--list", "b")
    own.execute("ROLLBACK")
    assert repository.inv("worktree.create", "b", "--fresh", "--evict").returncode == 0
    with pytest.raises(psycopg.OperationalError):
        own.execute("SELECT 1")


def test_an_age_that_is_accepted(repository, own):
    """With WORKTREE_GOLDEN_MAX_AGE a snapshot is taken as it is, and the line says so."""
    repository.json("golden.refresh")
    own.execute("COMMENT ON TABLE contact IS 'new'")
    result = repository.inv("worktree.create", "a", env={"WORKTREE_GOLDEN_MAX_AGE": "10m"})

    assert "is younger than WORKTREE_GOLDEN_MAX_AGE: " in result.stderr
    wrong = repository.refuses("worktree.create", "b", env={"WORKTREE_GOLDEN_MAX_AGE": "soon"})
    assert "`soon` in environment is not a duration" in wrong


def test_spares(repository, own):
    """After a create spares are made in the background, the next create gets one, and 0 drops them."""
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


def test_outdated_snapshots(repository, own):
    """The snapshot before is dropped in the background; `golden.tidy` says what it drops."""
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


def test_eight_at_once(repository, own):
    """Eight `worktree.create` on an outdated snapshot all succeed; one of them takes the new one, once for all."""
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


def test_promote(repository, own):
    """In a worktree: its database becomes golden, the worktree keeps its own, and the old one can be had back."""
    golden = f"{repository.prefix}_latest"
    database = repository.json("worktree.create", "a")["database"]
    here = repository.worktree("a")
    repository.sql("CREATE TABLE promoted (i int)", database)
    assert "is the main worktree" in repository.refuses("golden.promote")
    assert "1 session is connected" in repository.refuses("golden.promote", cwd=here)
    assert "would make a copy" in repository.inv("-R", "golden.promote", "--evict", cwd=here).stdout
    made = repository.json("golden.promote", "--evict", cwd=here)

    assert made["from"] == database
    assert repository.sql("SELECT count(*) FROM promoted", golden) == [(0,)]
    assert made["parked"] in {name for (name,) in repository.sql("SELECT datname FROM pg_database")}
    assert repository.sql("SELECT count(*) FROM promoted", database) == [(0,)]

    assert f"would make {made['parked']} the golden template" in repository.inv("-R", "golden.undo").stdout
    undone = repository.json("golden.undo", "--evict")
    assert (undone["golden"], undone["from"]) == (golden, made["parked"])
    assert repository.sql("SELECT to_regclass('promoted')", golden) == [(None,)]
    assert repository.json("golden.undo")["from"] == undone["parked"], "which takes back the undo"
    assert repository.sql("SELECT count(*) FROM promoted", golden) == [(0,)]
