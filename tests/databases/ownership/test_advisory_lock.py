"""Advisory locks: one holder at a time, until it lets go or its connection ends."""

from __future__ import annotations

import pytest

from tasks_lib.databases.ownership.advisory_lock import advisory_lock, advisory_unlock, try_advisory_lock
from tasks_lib.errors import DatabaseError
from tests.signing import OTHER, SIGNER


def test_second_process_waits_until_its_timeout(server):
    """Both by the waiting lock; afterwards the lock is free for it."""
    with server.connect() as first, server.connect() as second:
        advisory_lock(first, SIGNER, "name")
        with pytest.raises(DatabaseError):
            advisory_lock(second, SIGNER, "name", timeout="50ms")
        advisory_unlock(first, SIGNER, "name")
        advisory_lock(second, SIGNER, "name", timeout="50ms")


def test_only_one_of_two_attempts_succeeds(server):
    """Both by the attempt that does not wait; the end of a connection frees its lock."""
    with server.connect() as second:
        with server.connect() as first:
            assert try_advisory_lock(first, SIGNER, "name")
            assert not try_advisory_lock(second, SIGNER, "name")
        advisory_lock(second, SIGNER, "name")


def test_locks_of_other_names_are_free(server):
    """A lock is one name's alone."""
    with server.connect() as first, server.connect() as second:
        advisory_lock(first, SIGNER, "name")
        assert try_advisory_lock(second, SIGNER, "another")


def test_other_roles_cannot_compute_the_key_of_a_lock(server):
    """Neither from the lock's name nor from another repository's key; locks that all share are known to all."""
    with server.connect() as first, server.connect() as second:
        advisory_lock(first, SIGNER, "name")
        assert try_advisory_lock(second, OTHER, "name")
        assert try_advisory_lock(second, None, "name")
        assert not try_advisory_lock(first, None, "name")
        (kept,) = first.execute("SELECT hashtextextended('name', 0) IN (%s)", [SIGNER.lock_key("name")]).fetchone()
        assert not kept
