"""Spares: ready clones, handed out only while golden is what it was when they were made."""

from __future__ import annotations

import pytest

from tasks_lib.databases.clone import clone, spares
from tasks_lib.databases.ownership.comment import Owner, read_comment
from tests.signing import OTHER, SIGNER


@pytest.fixture
def golden(place):
    """Give a golden template in use, as it mostly is."""
    name = place.golden("CREATE TABLE t AS SELECT generate_series(1, 3) AS i; CREATE SEQUENCE s")
    place.run("ALTER DATABASE {} SET search_path = a, public", name)
    with place.connect(name):
        yield name


def keep(place, golden, count):
    return spares.maintain_spares(place.source(golden), count, place.said.append)


def names(place):
    return {name for name in place.databases() if name.startswith("goldentree_spare_")}


@pytest.mark.every_major(slow=True)
def test_spare_becomes_a_whole_clone(place, golden):
    """A spare becomes the clone, whole and with golden's settings; there is one fewer then, and the rest stay."""
    assert keep(place, golden, 2) == 2
    before = names(place)
    made = place.clone(golden, method="auto")

    assert (made.method, made.reason) == ("spare", "a spare is current")
    assert len(before) == 2
    assert len(names(place)) == 1
    assert place.assert_same_rows(golden, made.database, "SELECT i FROM t ORDER BY 1") == [(1,), (2,), (3,)]
    assert place.assert_same_rows(golden, made.database, "SHOW search_path")
    comment = read_comment(place.admin, made.database)
    assert (comment.role, comment.slug, comment.fingerprint) == ("clone", "feat_1", made.fingerprint.digest)
    assert clone.is_complete(place.server, made.database, Owner(SIGNER, "feat_1"))


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO t VALUES (4)",
        "SELECT nextval('s')",
        "COMMENT ON TABLE t IS 'x'",
        "ALTER DATABASE {} SET search_path = public",
    ],
)
def test_spare_of_a_changed_golden_is_replaced(place, golden, change):
    """Once golden has changed, a spare is not handed out any more; the next keeping replaces it."""
    keep(place, golden, 1)
    old = names(place)
    place.execute(golden, change.format(f'"{golden}"'))
    made = place.clone(golden, method="auto")

    assert made.method == "snapshot"
    assert place.assert_same_rows(golden, made.database, "SELECT count(*) FROM t")
    assert place.assert_same_rows(golden, made.database, "SELECT last_value, is_called FROM s")
    assert keep(place, golden, 1) == 1
    assert len(names(place) - old) == len(names(place)) == 1
    assert place.clone(golden, method="auto").method == "spare"


def test_spares_are_kept_in_the_wanted_number(place, golden):
    """Missing ones are made, those too many are dropped; none wanted is none kept."""
    assert keep(place, golden, 3) == 3
    three = names(place)
    assert keep(place, golden, 3) == 3
    assert names(place) == three
    assert keep(place, golden, 1) == 1
    assert len(names(place)) == 1
    assert keep(place, golden, 0) == 0
    assert names(place) == set()


def test_each_spare_goes_to_one_clone(place, golden, meanwhile):
    """Clones made at the same time never get the same spare; who gets none copies the snapshot."""
    keep(place, golden, 3)
    made = []
    threads = [meanwhile(lambda: made.append(place.clone(golden, method="auto"))) for _ in range(5)]
    for thread in threads:
        thread.join()

    assert sorted(result.method for result in made) == ["snapshot"] * 2 + ["spare"] * 3
    for result in made:
        assert place.assert_same_rows(golden, result.database, "SELECT count(*) FROM t") == [(3,)]
    assert len({result.database for result in made}) == 5


def test_parallel_upkeep_makes_no_extra_spares(place, golden, meanwhile):
    """Processes that keep spares at the same time make no more than are wanted."""
    threads = [meanwhile(lambda: keep(place, golden, 2)) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert len(names(place)) == 2


def test_spares_of_another_repository_stay(place, golden):
    """Spares of another repository are neither handed out nor dropped."""
    place.signer = OTHER
    keep(place, golden, 1)
    theirs = names(place)
    place.signer = SIGNER

    assert place.clone(golden, method="auto").method == "snapshot"
    assert keep(place, golden, 0) == 0
    assert names(place) == theirs


def test_golden_without_a_fingerprint_gets_no_spares(place, golden):
    """Of a golden template whose fingerprint cannot be known no spare is kept: it could never be proven current."""
    place.execute(golden, "CREATE TABLE locked (i int)")
    with place.connect(golden) as migration:
        migration.execute("BEGIN; LOCK TABLE locked")
        migration.execute("ALTER TABLE t ADD j int; INSERT INTO locked VALUES (1)")
        assert keep(place, golden, 2) == 0
    assert names(place) == set()
