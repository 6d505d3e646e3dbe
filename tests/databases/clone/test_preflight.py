"""What our role lacks is named before the first change, with the statement that cures it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks_lib.databases.clone import clone, park
from tasks_lib.databases.clone.strategy import CloneOptions
from tasks_lib.databases.golden import promote
from tasks_lib.databases.golden.status import report_golden_status
from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.embedded.cluster import Cluster
from tasks_lib.errors import DatabaseError, ServerError
from tests.databases.conftest import Place

pytestmark = pytest.mark.every_major


def check(place, golden, role, method="auto", **wish):
    """Check that *role* can clone *golden*; a check changes nothing."""
    source = place.source(golden, server=place.as_role(role))
    before = place.databases()
    try:
        clone.check_clone(source, "new_clone", CloneOptions(method, **wish), slug=place.slug)
    finally:
        assert place.databases() == before


def cure(caught, golden, place):
    """Run the statements of the error's hint in *golden* as the superuser."""
    who, *statements = caught.value.hint.splitlines()
    assert who.startswith("as "), caught.value.hint
    place.execute(golden, "\n".join(statements))


def test_unreadable_objects_are_named_with_their_grants(place):
    """Tables, sequences and large objects that our role may not read are named; the hint's statements cure it."""
    reader = place.role()
    golden = place.golden(
        'CREATE SCHEMA "Odd %s"; CREATE TABLE "Odd %s"."t 1" (i serial); CREATE TABLE open (i int); '
        f"SELECT lo_create(4713); GRANT SELECT ON open TO {reader}"
    )
    with pytest.raises(DatabaseError, match=f"role `{reader}` may not read all of `{golden}`") as caught:
        check(place, golden, reader)
    assert 'table "Odd %s"."t 1"' in caught.value.why
    assert 'sequence "Odd %s"."t 1_i_seq"' in caught.value.why
    assert "large object 4713" in caught.value.why
    assert "open" not in caught.value.why

    cure(caught, golden, place)
    check(place, golden, reader)
    place.clone(golden, server=place.as_role(reader), method="auto")
    place.run("REVOKE pg_read_all_data FROM {}", reader)
    place.execute(golden, f"REVOKE SELECT ON LARGE OBJECT 4713 FROM {reader}")
    check(place, golden, reader)  # a snapshot exists
    with pytest.raises(DatabaseError, match="may not read all"):
        check(place, golden, reader, fresh=True)


def test_missing_connect_right_is_found_before(place):
    """A role that may not connect to golden is refused with the GRANT."""
    owner, reader = place.role(), place.role()
    golden = place.golden(owner=owner)
    place.run("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", golden)
    with pytest.raises(DatabaseError, match="may not connect") as caught:
        check(place, golden, reader)
    cure(caught, golden, place)
    check(place, golden, reader)


def test_membership_without_its_use_is_named(place):
    """A role that created golden's owner may grant, but not act as it: the hint is the GRANT that it can run itself."""
    if place.admin.info.server_version < 160_000:
        pytest.skip("before 16, CREATEROLE needs no membership")
    creator = place.role("LOGIN CREATEDB CREATEROLE")
    owner = f"owned_{creator}"
    place.roles.insert(0, owner)
    with place.connect("postgres", user=creator, password=creator) as connection:
        connection.execute(f"CREATE ROLE {owner}")
    golden = place.golden(owner=owner)
    place.execute(golden, f"SET ROLE {owner}; CREATE TABLE t AS SELECT 1 AS i")
    for method, said in (("template", "may not copy"), ("dump", "may not read all")):
        with pytest.raises(DatabaseError, match=said) as caught:
            check(place, golden, creator, method)
        assert caught.value.hint.splitlines()[-2].endswith(f"as `{creator}`:")
    with place.connect("postgres", user=creator, password=creator) as connection:
        connection.execute(caught.value.hint.splitlines()[-1])
    for method in ("template", "dump", "auto"):
        check(place, golden, creator, method)
    assert place.clone(golden, server=place.as_role(creator), method="auto").method == "template"


def test_member_that_does_not_inherit_is_cured(place):
    """The same for a member that may not use its membership, such as with NOINHERIT."""
    owner, member = place.role(), place.role("LOGIN CREATEDB NOINHERIT")
    place.run("GRANT {} TO {}", owner, member)
    golden = place.golden(owner=owner)
    with pytest.raises(DatabaseError, match="may not copy") as caught:
        check(place, golden, member, "template")
    place.admin.execute(caught.value.hint.splitlines()[-1])
    check(place, golden, member, "template")


def test_missing_clients_are_found_before_a_dump(place, monkeypatch):
    """Without pg_dump and psql, what needs a dump is refused, and what needs none is not."""
    golden = place.golden("CREATE TABLE t ()")
    monkeypatch.setattr(binaries, "list_installed", list)
    source = place.source(golden)
    clone.check_clone(source, "new_clone", slug=place.slug)
    with place.connect(golden):
        for wish in ({}, {"method": "dump"}):
            with pytest.raises(ServerError, match="no `pg_dump` and `psql`"):
                clone.check_clone(source, "new_clone", CloneOptions(**wish), slug=place.slug)
        clone.check_clone(source, "new_clone", CloneOptions("template"), slug=place.slug)
        clone.check_clone(source, "new_clone", CloneOptions(evict_idle=True), slug=place.slug)


def test_promotion_without_ownership_names_the_grant(place):
    """A golden template that our role may not rename is refused with what makes our role its owner's member."""
    owner, other = place.role(), place.role()
    golden = place.golden(owner=owner)
    server = place.as_role(other)
    database = place.clone(golden, server=server).database
    source = place.source(golden, server=server)
    with pytest.raises(DatabaseError, match="belongs to role") as caught:
        promote.check_promotion(source, database, slug=place.slug, force=True, evict_idle=False)
    place.admin.execute(caught.value.hint.splitlines()[-1])
    promote.check_promotion(source, database, slug=place.slug, force=True, evict_idle=False)


@contextmanager
def standby(server, programs):
    """Make *server* a standby of a primary that it never finds."""
    with server.connect() as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone()
    cluster, signal = Cluster(Path(data).parent, durable=False, binaries=programs), Path(data, "standby.signal")
    for begin in (signal.touch, signal.unlink):
        cluster.stop()
        begin()
        cluster.start()
        if begin == signal.touch:
            yield


def test_standby_is_refused_before_the_first_change(own_server, programs, tmp_path):
    """A standby is named as such by what would change it; what only reads works there."""
    with own_server.connect() as admin:
        place = Place(own_server, admin, tmp_path / "databases")
        golden = place.golden("CREATE TABLE t ()")
        database, source = place.clone(golden).database, place.source(golden)
    with standby(own_server, programs):
        for change in (
            lambda: clone.check_clone(source, "new_clone", slug=place.slug),
            lambda: promote.check_promotion(source, database, slug=place.slug, force=True, evict_idle=False),
            lambda: park.park(own_server, source.owner(place.slug), removed_at="2026-01-02", report=place.said.append),
        ):
            with pytest.raises(ServerError, match="is a standby") as caught:
                change()
            assert "primary" in caught.value.hint
        assert report_golden_status(source).freshness.found.digest
    clone.check_clone(source, "new_clone", slug=place.slug)
