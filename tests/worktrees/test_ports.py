"""Port leases."""

from __future__ import annotations

import socket

import pytest

from tasks_lib.errors import WorktreeError
from tasks_lib.worktrees import ports


def test_the_preferred_port_is_stable():
    """The same key prefers the same port."""
    assert ports.lease("a", set()) == ports.lease("a", set())
    assert ports.FIRST <= ports.lease("a", set()) <= ports.LAST


def test_a_lease_is_skipped():
    """A port that a worktree has leased is taken, even if no process listens on it."""
    first = ports.lease("a", set())
    assert ports.lease("a", {first}) == first + 1


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_in_use_is_skipped(family, host):
    """A listener on either loopback address counts."""
    preferred = ports.lease("a", set())
    try:
        taken = socket.create_server((host, preferred), family=family)
    except OSError:
        pytest.fail(f"this machine cannot listen on {host}")
    with taken:
        assert not ports.is_free(preferred)
        assert ports.lease("a", set()) == preferred + 1


def test_no_free_port_is_an_error():
    """It ends with an error, not in a loop."""
    with pytest.raises(WorktreeError, match="every port"):
        ports.lease("a", range(ports.FIRST, ports.LAST + 1))
