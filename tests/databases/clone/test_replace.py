"""A new database takes the name of the old one, which is parked, in one transaction."""

from __future__ import annotations

from contextlib import closing

import pytest

from tasks_lib.databases.clone import clone, park, spares
from tasks_lib.databases.clone.strategy import CloneOptions
from tasks_lib.databases.ownership.comment import Owner, read_comment
from tasks_lib.databases.ownership.temporaries import temporary_database
from tasks_lib.databases.server.ddl import INVALID
from tasks_lib.errors import DatabaseError, OwnershipError
from tests.signing import SIGNER

FIRST, SECOND = "2026-01-02T03:04:05+00:00", "2026-02-03T04:05:06+00:00"
PARKED = "_parked_20260203040506"


@pytest.fixture
def small(place):
    name = place.golden("CREATE TABLE t AS SELECT generate_series(1, 3) AS i")
    place.run("ALTER DATABASE {} SET search_path = a, public", name)
    return name


def rebuilt(place, golden, name, *, slug="feat_1", **wish):
    comment = place.source(golden).new_comment("clone", slug=slug, created_at=SECOND)
    made = clone.rebuild(
        place.source(golden), name, comment, CloneOptions(**wish), place.said.append, removed_at=SECOND
    )
    if made.parked:
        place.made.append(made.parked)
    return made


@pytest.mark.every_major(slow=True)
@pytest.mark.parametrize("method", ["spare", "snapshot", "dump"])
def test_reset_parks_the_old_clone(place, small, method):
    """The fresh clone has golden's rows, settings and its own comment; the one that was is kept and can be had back."""
    with place.connect(small):
        name = place.clone(small).database
        if method == "spare":
            spares.maintain_spares(place.source(small), 1, place.said.append)
        place.execute(name, "INSERT INTO t VALUES (4)")
        with closing(place.connect(name)) as session:
            session.execute("BEGIN")
            made = rebuilt(place, small, name, **({"method": "dump"} if method == "dump" else {}))

    assert (made.method, made.parked) == (method, name + PARKED)
    assert place.rows(name, "SELECT count(*) FROM t") == [(3,)]
    assert place.rows(name, "SHOW search_path") == [("a, public",)]
    comment = read_comment(place.admin, name)
    assert (comment.role, comment.created_at, comment.fingerprint) == ("clone", SECOND, made.fingerprint.digest)
    assert not [name for name in place.databases() if name.startswith("goldentree_tmp_")]
    assert not list((place.folder / "temporaries").iterdir())

    park.unpark(place.server, Owner(SIGNER, "feat_1"), removed_at=SECOND, now=SECOND, report=place.said.append)
    place.made.append(f"{name}{PARKED}_2")
    assert place.rows(name, "SELECT count(*) FROM t") == [(4,)]
    assert read_comment(place.admin, name).created_at == FIRST


def test_missing_database_parks_nothing_else(place, small):
    """If no database has the name, or only an interrupted DROP has left one, nothing is parked."""
    name = place.clone(small).database
    place.admin.execute("UPDATE pg_database SET datconnlimit = %s WHERE datname = %s", [INVALID, name])

    assert rebuilt(place, small, name).parked == ""
    assert place.rows(name, "SELECT count(*) FROM t") == [(3,)]


def test_foreign_database_keeps_its_name(place, small, monkeypatch):
    """A stranger's database keeps its name, one that comes while the clone is made too; nothing else is left."""
    stranger, sibling = place.golden(), place.clone(small).database
    before = place.databases()
    for name, slug in ((stranger, "feat_1"), (sibling, "feat_2"), (small, "feat_1")):
        with pytest.raises(OwnershipError):
            rebuilt(place, small, name, slug=slug)
    assert place.databases() == before

    replace = park.publish_and_park_old

    def late(*arguments, **options):
        place.golden(name="late")
        return replace(*arguments, **options)

    monkeypatch.setattr(park, "publish_and_park_old", late)
    with pytest.raises(OwnershipError, match="`late` is not ours"):
        rebuilt(place, small, "late")
    assert place.databases() - {"late"} == before


def test_failed_replacement_restores_the_old_clone(place, small):
    """What fails after the old one is out of the way takes that back."""
    name = place.clone(small).database
    source = place.source(small)
    comment = source.new_comment("clone", slug="feat_1", created_at=SECOND)
    with (
        pytest.raises(DatabaseError),
        source.server.connect_for_ddl() as connection,
        temporary_database(source, connection) as never,
    ):
        park.publish_and_park_old(
            source, connection, None, never, name, comment, removed_at=SECOND, report=place.said.append
        )

    assert place.rows(name, "SELECT count(*) FROM t") == [(3,)]
    assert read_comment(place.admin, name).created_at == FIRST
    assert name + PARKED not in place.databases()
