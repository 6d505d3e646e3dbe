"""Companions: empty ones, and those with a template of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks_lib.databases.clone import cleanup, clone, empty, park, snapshot
from tasks_lib.databases.ownership.comment import Owner, read_comment
from tasks_lib.databases.ownership.source import Source
from tasks_lib.errors import DatabaseError, OwnershipError
from tests.signing import SIGNER

NOW = "2026-01-02T03:04:05+00:00"


@pytest.mark.every_major
def test_empty_companion_has_its_comment(place):
    """It is empty, in UTF-8 and has the ownership comment; a second process's is kept; any role can create one."""
    source = Source(place.as_role(place.role()), "", SIGNER, place.folder)
    comment = source.new_comment("clone", slug="feat_1", created_at=NOW)
    place.made.append("jobs")

    empty.check_empty(source, "jobs", slug="feat_1")
    made = empty.build_empty(source, "jobs", comment, place.said.append)

    assert (made.method, made.bytes > 6_000_000, made.fingerprint.digest) == ("empty", True, "")
    assert read_comment(place.admin, "jobs") == comment
    assert place.rows("jobs", "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'jobs'") == [
        ("UTF8",)
    ]
    assert place.rows("jobs", "SELECT count(*) FROM pg_stat_user_tables") == [(0,)]
    place.execute("jobs", "CREATE TABLE t (i int)")
    empty.check_empty(source, "jobs", slug="feat_1")
    assert empty.build_empty(source, "jobs", comment, place.said.append).method == "kept"
    assert place.rows("jobs", "SELECT count(*) FROM pg_stat_user_tables") == [(1,)]
    assert clone.is_complete(source.server, "jobs", Owner(SIGNER, "feat_1"))
    assert not list((place.folder / "temporaries").iterdir())


def test_companion_cannot_have_the_name_of_another_database(place):
    """PostgreSQL's own, a stranger's and a sibling's are refused before anything is made, and by the making."""
    source, stranger = Source(place.server, "", SIGNER, place.folder), place.golden()
    before = place.databases()
    for name in ("postgres", stranger):
        with pytest.raises(OwnershipError):
            empty.check_empty(source, name, slug="feat_1")
    with pytest.raises(OwnershipError, match="is not ours"):
        empty.build_empty(
            source, stranger, source.new_comment("clone", slug="feat_1", created_at=NOW), place.said.append
        )
    powerless = replace(source, server=place.as_role(place.role("LOGIN")))
    with pytest.raises(DatabaseError, match="no permission") as caught:
        empty.build_empty(
            powerless, "jobs", source.new_comment("clone", slug="feat_1", created_at=NOW), place.said.append
        )
    assert "create database" in caught.value.why
    assert place.databases() == before


def test_companion_with_a_template_has_its_own_snapshots(place):
    """It has snapshots of its own beside golden's, tidied with those, and is parked with the worktree."""
    golden, template = (place.golden(f"CREATE TABLE {name} (i int)") for name in ("orders", "jobs"))
    with place.connect(golden), place.connect(template):
        first, companion = (place.clone(name, method="auto").database for name in (golden, template))
        place.execute(template, "INSERT INTO jobs VALUES (1)")
        fresh = place.clone(template, method="auto")
        cleanup.clean_up(place.source(golden), 0, place.said.append)
        assert place.clone(golden, method="auto").reason.endswith("is current")

    assert place.rows(fresh.database, "SELECT i FROM jobs") == [(1,)]
    assert read_comment(place.admin, companion).golden == template
    for name in (golden, template):
        assert len(place.source(name).list_copies(place.admin, "snapshot")) == 2, "one for each template"
        assert clone.check_clone(place.source(name), companion, slug="feat_1").name == name
    found = park.park(
        place.server,
        Owner(SIGNER, "feat_1"),
        removed_at=NOW,
        report=place.said.append,
        only=[first, companion],
    )
    place.made += [database.name for database in found]
    assert {database.database for database in found} == {first, companion}
    assert snapshot.drop_outdated(place.source(golden), place.admin, None)
    assert len(place.source(template).list_copies(place.admin, "snapshot")) == 1
