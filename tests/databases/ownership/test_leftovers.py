"""Leftovers: found from what is alive, listed with a reason, proven again before the drop; no session is ended."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from tasks_lib.databases.ownership import leftovers, temporaries
from tasks_lib.databases.ownership.advisory_lock import advisory_lock, advisory_unlock
from tasks_lib.databases.ownership.comment import OwnershipComment, set_comment
from tasks_lib.databases.ownership.drop import new_temporary_name
from tasks_lib.databases.server.ddl import INVALID
from tasks_lib.errors import DatabaseError, OwnershipError
from tests.signing import SIGNER

NOW = datetime(2026, 2, 20, 12, tzinfo=UTC)
OLD, RECENT = "2026-02-03T04:05:06+00:00", "2026-02-20T11:30:00+00:00"


class Ground:
    """A place with databases that have all kinds of ownership comments."""

    def __init__(self, place):
        self.place = place
        self.source = place.source(place.golden("CREATE TABLE t AS SELECT 1 AS i"))

    def made(self, role, name=None, **changes):
        name = self.place.golden(name=name)
        comment = OwnershipComment("repo", "gone_1", role, self.source.golden, OLD)
        set_comment(self.place.admin, SIGNER, name, replace(comment, **changes))
        return name

    def found(self, *templates):
        found = leftovers.find_leftovers(
            self.source, live=["live_1"], keep=timedelta(days=14), now=NOW, templates=templates
        )
        return {leftover.name: leftover for leftover in found}


@pytest.fixture
def ground(place):
    return Ground(place)


def test_each_leftover_is_found_and_dropped(ground, place):
    """Each kind of leftover is listed with its reason and size, and dropped; every other database stays."""
    made, source = ground.made, ground.source
    parked = made("parked", slug="live_1", database="app_live_1", parked_at=OLD)
    clone, companion = made("clone"), made("clone", golden="")
    broken = made("clone", slug="live_1")
    place.admin.execute("UPDATE pg_database SET datconnlimit = %s WHERE datname = %s", [INVALID, broken])
    foreign = made("snapshot", "goldentree_snapshot_00000000_1", slug="", golden="old_latest")
    place.run("ALTER DATABASE {} IS_TEMPLATE true", foreign)
    outdated = made("spare", "goldentree_spare_00000000_1", slug="")
    forgotten, nameless = new_temporary_name(), new_temporary_name()
    made("temporary", forgotten)
    place.golden(name=nameless)
    with temporaries.temporary_database(source, place.admin) as maker:
        folder = source.folder / "temporaries"
        (folder / nameless).write_text((folder / maker).read_text())
        made("temporary", maker)
        stays = {
            source.golden,
            maker,
            made("clone", slug="live_1"),
            made("clone", created_at=RECENT),
            made("clone", created_at="edited by hand"),
            made("parked", parked_at=RECENT),
            made("snapshot", f"{source.prefix('snapshot', place.oid(source.golden))}1", slug=""),
            made("clone", repository="another"),
            made("snapshot", "goldentree_snapshot_00000000_2", slug="", repository="another"),
            place.golden(name=new_temporary_name()),
            place.golden(name="app_live_1_parked_20260203040506"),
            place.golden(name="goldentree_spare_00000000_2"),
        }
        found = ground.found()

        assert {name: (leftover.kind, leftover.reason) for name, leftover in found.items()} == {
            parked: ("parked", "parked on 2026-02-03, kept for 14 days"),
            clone: ("clone", "no worktree has the slug `gone_1`"),
            companion: ("clone", "no worktree has the slug `gone_1`"),
            broken: ("invalid", "an interrupted DROP DATABASE left it behind"),
            foreign: ("snapshot", "`old_latest` is not a golden template of this repository"),
            outdated: ("spare", f"another golden template has replaced its `{source.golden}`"),
            forgotten: ("temporary", "the process that was making it has died"),
            nameless: ("temporary", "the process that was making it has died"),
        }
        assert all(leftover.bytes > 6_000_000 for leftover in found.values() if leftover.comment)
        assert ground.found("old_latest")[foreign].reason == "its golden template `old_latest` does not exist"
        assert all(leftovers.drop_leftover(source, leftover) for leftover in found.values())
        assert not any(leftovers.drop_leftover(source, leftover) for leftover in found.values()), "they are gone"
        assert ground.found() == {}
        assert stays <= place.databases()
        place.run("DROP DATABASE {}", maker)


def test_parked_database_without_a_date_never_expires(ground):
    """A comment that lacks `parked`, or has another text there, says nothing of the database's age."""
    dated = ground.made("parked", parked_at=OLD)
    ground.made("parked")
    ground.made("parked", parked_at="edited by hand")
    assert set(ground.found()) == {dated}


def test_changed_leftover_is_not_dropped(ground, place):
    """What has been changed, is used, or is being made since it was listed stays."""
    used, renewed, brought_back = ground.made("clone"), ground.made("clone"), ground.made("parked", parked_at=OLD)
    making = ground.made("temporary", new_temporary_name())
    found = ground.found()
    assert set(found) == {used, renewed, brought_back, making}
    before = place.databases()

    set_comment(place.admin, SIGNER, renewed, replace(found[renewed].comment, created_at=RECENT))
    place.run("COMMENT ON DATABASE {} IS NULL", brought_back)
    for name in (renewed, brought_back):
        with pytest.raises(OwnershipError, match=f"comment of database `{name}` has changed"):
            leftovers.drop_leftover(ground.source, found[name])
    with closing(place.connect(used)) as session:
        assert ground.found()[used].sessions == 1
        with pytest.raises(DatabaseError, match=f"a session is connected to `{used}`"):
            leftovers.drop_leftover(ground.source, found[used])
        session.execute("SELECT 1")
    advisory_lock(place.admin, SIGNER, making, purpose="")
    assert making not in ground.found()
    with pytest.raises(DatabaseError, match="another process is using"):
        leftovers.drop_leftover(ground.source, found[making])
    advisory_unlock(place.admin, SIGNER, making)
    assert place.databases() == before


def test_a_golden_template_is_no_leftover(ground, place):
    """Not even one that was once a worktree's clone, and has its ownership comment."""
    golden, other = ground.source.golden, ground.made("clone")
    set_comment(place.admin, SIGNER, golden, OwnershipComment("repo", "gone_1", "clone", golden, OLD))

    assert set(ground.found()) == {other}
    assert ground.found(other) == {}
