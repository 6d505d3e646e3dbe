"""Promotion: a copy of a worktree's database takes golden's place, and nothing of either is lost."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest
from msgspec import structs

from tasks_lib.databases.golden import promote
from tasks_lib.databases.ownership.comment import OwnershipComment, read_comment, set_comment
from tasks_lib.errors import DatabaseError, OwnershipError
from tests.signing import SIGNER

NOW = "2026-02-03T04:05:06+00:00"


@pytest.fixture
def golden(place):
    """Give a golden template with everything that a rename could lose."""
    name = place.golden("CREATE TABLE t AS SELECT 1 AS i")
    place.run("ALTER DATABASE {} SET search_path = a, public", name)
    place.run("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", name)
    place.run("COMMENT ON DATABASE {} IS 'curated by Ada'", name)
    return name


def examine(place, golden, database, *, slug="feat_1", force=False, evict_idle=False):
    promote.check_promotion(place.source(golden), database, slug=slug, force=force, evict_idle=evict_idle)


def promoted(place, golden, database, *, evict_idle=False, now=NOW):
    made = promote.promote(
        place.source(golden), database, slug="feat_1", now=now, evict_idle=evict_idle, report=place.said.append
    )
    place.made.append(made.parked)
    return made


def facts(place, name):
    """Return what the shared catalogs say about the database *name*."""
    query = (
        "SELECT datacl::text, datdba::regrole::text, setconfig, shobj_description(d.oid, 'pg_database') "
        "FROM pg_database d LEFT JOIN pg_db_role_setting ON setdatabase = d.oid WHERE datname = %s"
    )
    return place.admin.execute(query, [name]).fetchone()


@pytest.mark.every_major
@pytest.mark.parametrize("in_use", [False, True])
def test_promoted_clone_replaces_golden(place, golden, patient, in_use):
    """Golden has the clone's rows and its own settings, privileges and comment; the old one is closed and kept."""
    cloned = place.clone(golden, method="auto").database
    before = facts(place, golden)
    with place.connect(cloned) as worktree, ExitStack() as stack:
        worktree.execute("INSERT INTO t VALUES (2)")
        if not in_use:
            worktree.close()
        examine(place, golden, cloned)
        made = promoted(place, golden, cloned)
        if in_use:
            worktree.execute("INSERT INTO t VALUES (3)")
        stack.close()

    assert made.method == ("dump" if in_use else "template")
    assert place.rows(golden, "SELECT i FROM t ORDER BY 1") == [(1,), (2,)]
    assert facts(place, golden) == before
    assert made.parked == f"{golden}_parked_20260203040506"
    closed = "SELECT datallowconn FROM pg_database WHERE datname = %s"
    assert place.admin.execute(closed, [made.parked]).fetchone() == (False,)
    place.run("ALTER DATABASE {} ALLOW_CONNECTIONS true", made.parked)
    assert place.rows(made.parked, "SELECT i FROM t") == [(1,)]
    assert place.rows(cloned, "SELECT count(*) FROM t") == [(3 if in_use else 2,)]


@pytest.mark.every_major
def test_clones_after_a_promotion_have_the_new_rows(place, golden):
    """The old golden's snapshots go with it; a clone made afterwards has the new one's rows."""
    with place.connect(golden):
        first = place.clone(golden, method="auto")
        assert first.method == "snapshot"
    place.execute(first.database, "INSERT INTO t VALUES (2)")
    promoted(place, golden, first.database)
    assert not [name for name in place.databases() if name.startswith("goldentree_")]
    with place.connect(golden):
        second = place.clone(golden, method="auto")

    assert place.rows(second.database, "SELECT count(*) FROM t") == [(2,)]


@pytest.mark.every_major
def test_parked_golden_is_restored_whole(place, golden):
    """A parked golden is golden again, with its comment and rows; the one that was is parked, and can be had back."""
    before = facts(place, golden)
    cloned = place.clone(golden).database
    place.execute(cloned, "INSERT INTO t VALUES (2)")
    made = promoted(place, golden, cloned)
    source = place.source(golden)
    comment = read_comment(place.admin, made.parked)
    assert comment.parked_at > place.started, "by the server's clock"
    assert structs.replace(comment, created_at="", parked_at="") == OwnershipComment(
        "repo", "", "parked", golden, database=golden, removed_at=NOW
    )

    later = "2026-02-03T04:05:07+00:00"
    with place.connect(golden), pytest.raises(DatabaseError, match="1 session is connected"):
        promote.restore_golden(source, made.parked, now=later, evict_idle=False)
    assert promote.list_parked_goldens(source) == [made.parked]
    with closing(place.connect(golden)):
        aside = promote.restore_golden(source, made.parked, now=later, evict_idle=True)
    place.made.append(aside)

    assert facts(place, golden) == before
    assert place.rows(golden, "SELECT i FROM t") == [(1,)]
    assert promote.list_parked_goldens(source) == [aside]
    place.made.append(promote.restore_golden(source, aside, now=later, evict_idle=False))
    assert place.rows(golden, "SELECT count(*) FROM t") == [(2,)]


def test_goldens_parked_within_one_second_are_in_order(place, golden):
    """By microseconds; those parked by earlier versions, which wrote whole seconds, by the numbers of their names."""
    cloned = place.clone(golden).database
    old = [promoted(place, golden, cloned).parked for _ in range(2)]
    assert promote.list_parked_goldens(place.source(golden)) == [old[1], old[0]]
    place.run("DROP DATABASE {}", old[0])
    new = promoted(place, golden, cloned, now=NOW.replace("06+", "06.000007+")).parked
    assert new == old[0], "its name has the lower number"
    assert promote.list_parked_goldens(place.source(golden)) == [new, old[1]]


def test_only_a_parked_golden_is_restored(place, golden):
    """A worktree's parked clone, a stranger's database and what was another golden template stay what they are."""
    stranger, clone, other = (place.golden() for _ in range(3))
    set_comment(place.admin, SIGNER, clone, OwnershipComment("repo", "feat_1", "parked", golden, NOW, "", clone, NOW))
    set_comment(
        place.admin,
        SIGNER,
        other,
        OwnershipComment("repo", "", "parked", "another_latest", NOW, "", "another_latest", NOW),
    )
    assert promote.list_parked_goldens(place.source(golden)) == []
    for name in (stranger, clone, other):
        with pytest.raises(OwnershipError):
            promote.restore_golden(place.source(golden), name, now=NOW, evict_idle=False)


def test_changed_golden_is_not_replaced(place, golden):
    """What others added to golden since would be missing: refused, unless forced."""
    cloned = place.clone(golden, method="auto").database
    examine(place, golden, cloned)
    place.execute(golden, "INSERT INTO t VALUES (9)")
    with pytest.raises(DatabaseError, match="may have changed since this worktree's database was cloned") as caught:
        examine(place, golden, cloned)

    assert "--force promotes it anyway" in caught.value.hint
    examine(place, golden, cloned, force=True)


def test_golden_in_use_is_not_replaced(place, golden):
    """While a session is connected to golden, nothing is created; idle sessions are ended only on request."""
    cloned = place.clone(golden).database
    place.execute(cloned, "INSERT INTO t VALUES (2)")
    before = place.databases()
    with place.connect(golden) as session:
        with pytest.raises(DatabaseError, match=f"1 session is connected to `{golden}`"):
            examine(place, golden, cloned)
        with pytest.raises(DatabaseError, match="1 session is connected"):
            promoted(place, golden, cloned)
        assert place.databases() == before
        session.execute("BEGIN")
        with pytest.raises(DatabaseError, match=f"`{golden}` is in use") as caught:
            examine(place, golden, cloned, evict_idle=True)
        assert caught.value.hint.endswith("then run the same command; to list all sessions:\ninv golden.status")
        session.execute("ROLLBACK")
        examine(place, golden, cloned, evict_idle=True)
        promoted(place, golden, cloned, evict_idle=True)
    assert place.rows(golden, "SELECT count(*) FROM t") == [(2,)]


def test_only_own_clone_is_promoted(place, golden):
    """Only the worktree's own clone is promoted."""
    cloned = place.clone(golden).database
    stranger = place.golden()
    for name, slug in ((cloned, "feat_2"), (stranger, "feat_1"), (golden, "feat_1")):
        with pytest.raises(OwnershipError):
            examine(place, golden, name, slug=slug)


def test_golden_of_another_role_is_not_promoted(place, golden):
    """A role that may not rename golden gets an error before anything is copied."""
    server = place.as_role(place.role())
    place.execute(golden, "GRANT SELECT ON t TO PUBLIC")
    cloned = place.clone(golden, server=server).database
    with pytest.raises(DatabaseError, match=f"`{golden}` belongs to role `goldentree`"):
        promote.check_promotion(
            place.source(golden, server=server), cloned, slug="feat_1", force=True, evict_idle=False
        )


def test_parked_name_fits_into_63_bytes(place):
    """The parked golden's name keeps within PostgreSQL's 63 bytes, and its time is never cut."""
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i", name="ü" * 31)
    made = promoted(place, golden, place.clone(golden).database)

    assert len(made.parked.encode()) <= 63
    assert made.parked.endswith("_parked_20260203040506")
