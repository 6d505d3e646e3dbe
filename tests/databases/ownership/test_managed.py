"""Only the ownership comments decide which databases a repository owns."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from msgspec import structs

from tasks_lib.databases.ownership.comment import OwnershipComment, set_comment
from tasks_lib.databases.ownership.managed import ManagedDatabase, list_managed
from tasks_lib.databases.server.ddl import INVALID
from tests.signing import SIGNER

OURS = OwnershipComment("repo", "feat_1", "clone", "gold", "2026-01-02T03:04:05+00:00")


@pytest.mark.every_major
def test_managed_databases_are_found_by_comment(place):
    """Any role and name counts; not another repository's, nor what only speaks of ours; who is connected is counted."""
    # Golden's owner is theirs, so that a role that is not may know that they are ours.
    ours = structs.replace(OURS, golden=place.golden())
    parked = structs.replace(ours, role="parked", database="app_feat_1", parked_at=OURS.created_at)
    first, second, broken, theirs, stranger = sorted(place.golden() for _ in range(5))
    set_comment(place.admin, SIGNER, first, ours)
    set_comment(place.admin, SIGNER, second, parked)
    set_comment(place.admin, SIGNER, broken, ours)
    set_comment(place.admin, SIGNER, theirs, OwnershipComment("another", "repo", "clone", "repo", OURS.created_at))
    place.run("COMMENT ON DATABASE {} IS 'the \"repo\" database'", stranger)
    place.admin.execute("UPDATE pg_database SET datconnlimit = %s WHERE datname = %s", [INVALID, broken])
    role = place.role()
    place.run("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", second)

    with ExitStack() as sessions:
        for _ in range(2):
            sessions.enter_context(place.connect(first))
        found = list_managed(place.admin, SIGNER)
        with place.as_role(role).connect() as connection:
            limited = list_managed(connection, SIGNER)

    assert [(row.name, row.comment, row.sessions, row.invalid) for row in found] == [
        (first, ours, 2, False),
        (second, parked, 0, False),
        (broken, ours, 0, True),
    ]
    assert all(row.bytes > 6_000_000 for row in found)
    assert [row.bytes > 0 for row in limited] == [True, False, True], "a role that may not connect is not told the size"
    unmeasured = ManagedDatabase(second, place.oid(second), parked, 0, 0, invalid=False)
    assert list_managed(place.admin, SIGNER, sizes=False)[1] == unmeasured


@pytest.mark.every_major
def test_database_dropped_by_another_process_is_left_out(place):
    """Another process drops one of our databases after the query has begun, before its size is measured."""

    class Racing:
        info = place.admin.info

        def execute(self, *query):
            if dropped:
                return place.admin.execute(*query)
            with place.admin.transaction():
                place.admin.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                place.admin.execute("SELECT FROM pg_database")
                with place.connect("postgres") as other:
                    other.execute(f'DROP DATABASE "{gone}"')
                dropped.append(gone)
                return place.admin.execute(*query)

    kept, gone = place.golden(), place.golden()
    dropped = []
    for name in (kept, gone):
        set_comment(place.admin, SIGNER, name, OURS)

    assert kept in [row.name for row in list_managed(Racing(), SIGNER) if row.bytes]
