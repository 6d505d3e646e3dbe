"""Advisory locks: one holder at a time, until it lets go or its connection ends."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

from tasks_lib import waits
from tasks_lib.databases.ownership.advisory_lock import advisory_lock, advisory_unlock, try_advisory_lock
from tasks_lib.errors import DatabaseError
from tests.signing import OTHER, SIGNER

HOLD = """
import sys, time
from tasks_lib.databases.ownership.advisory_lock import advisory_lock
from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tests.signing import SIGNER

with Server(DatabaseUrl.parse(sys.argv[1])).connect() as connection:
    advisory_lock(connection, SIGNER, "name", purpose="")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Explain waits and lose patience within moments."""
    monkeypatch.setattr("tasks_lib.waits.QUIET_SECONDS", 0.05)
    monkeypatch.setattr("tasks_lib.databases.ownership.advisory_lock.PATIENCE_SECONDS", 0.3)


def lock(connection, **options):
    advisory_lock(connection, SIGNER, "name", purpose="to build `x`", **options)


def test_a_wait_for_a_lock_names_the_holder_and_ends(server, capsys):
    """Once, with the command that ends the holder's session; afterwards the lock is free for the second."""
    with server.connect() as first, server.connect() as second:
        lock(first)
        with pytest.raises(DatabaseError, match=f"^error: session {first.info.backend_pid} .* holds") as caught:
            lock(second)
        assert str(caught.value).endswith(f'psql -c "SELECT pg_terminate_backend({first.info.backend_pid})"')
        said = capsys.readouterr().err
        assert said.count(f"… waiting to build `x` for session {first.info.backend_pid} (") == 1
        assert f"goldentree {waits.current_task()} {os.getpid()}, idle since " in said
        advisory_unlock(first, SIGNER, "name")
        lock(second)


def test_a_stopped_client_that_holds_a_lock_is_named_with_its_cure(server, server_url):
    """Its pid is the one of its session's name; `kill -CONT` lets it go on."""
    with subprocess.Popen([sys.executable, "-c", HOLD, server_url], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        with server.connect() as second, pytest.raises(DatabaseError, match="is stopped") as caught:
            lock(second)
        assert str(caught.value).endswith(f"kill -CONT {holder.pid}")
        holder.kill()


def test_progress_prolongs_the_wait_for_our_own_role_alone(place):
    """Another role, which has taken the lock to be in the way, cannot claim to make progress."""
    mallory = place.as_role(place.role())
    moving = itertools.count()

    def read_progress(holder):
        return str(next(moving)) if time.monotonic() < started + 0.8 else "the end"

    for server, least in ((place.server, 1.0), (mallory, 0.3)):
        with server.connect() as holder, place.server.connect() as second:
            lock(holder)
            started = time.monotonic()
            with pytest.raises(DatabaseError):
                lock(second, read_progress=read_progress)
            assert least < time.monotonic() - started < least + 0.6


def test_only_one_of_two_attempts_succeeds(server):
    """Both by the attempt that does not wait; the end of a connection frees its lock."""
    with server.connect() as second:
        with server.connect() as first:
            assert try_advisory_lock(first, SIGNER, "name")
            assert not try_advisory_lock(second, SIGNER, "name")
        lock(second)


def test_locks_of_other_names_are_free(server):
    """A lock is one name's alone."""
    with server.connect() as first, server.connect() as second:
        lock(first)
        assert try_advisory_lock(second, SIGNER, "another")


def test_other_roles_cannot_compute_the_key_of_a_lock(server):
    """Neither from the lock's name nor from another repository's key; locks that all share are known to all."""
    with server.connect() as first, server.connect() as second:
        lock(first)
        assert try_advisory_lock(second, OTHER, "name")
        assert try_advisory_lock(second, None, "name")
        assert not try_advisory_lock(first, None, "name")
        (kept,) = first.execute("SELECT hashtextextended('name', 0) IN (%s)", [SIGNER.lock_key("name")]).fetchone()
        assert not kept
