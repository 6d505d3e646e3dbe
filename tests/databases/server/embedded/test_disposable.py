"""Servers for the length of a block: gone afterwards, whatever happened."""

from __future__ import annotations

import signal
import subprocess
import sys

import psycopg
import pytest

from tasks_lib.databases.server.embedded.disposable import disposable_server

ORPHAN = """
from tasks_lib.databases.server.embedded.disposable import disposable_server
import signal
with disposable_server() as url:
    print(url, flush=True)
    signal.pause()
"""


@pytest.fixture(autouse=True)
def folder(home, monkeypatch):
    """Give the test a temporary directory of its own, where no other session's servers are."""
    directory = home / "tmp"
    directory.mkdir()
    directory.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", None)
    return directory


def reachable(url):
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def test_server_is_deleted_after_its_block(folder):
    """Inside the block there is a fast server; afterwards neither it nor its directory."""
    with disposable_server() as url, psycopg.connect(url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)

    assert not reachable(url)
    assert list(folder.iterdir()) == []


def test_failing_block_also_deletes_the_server(folder):
    """An exception inside the block passes through, and the server goes all the same."""
    with pytest.raises(ZeroDivisionError), disposable_server() as url:
        _ = 1 / 0

    assert not reachable(url)
    assert list(folder.iterdir()) == []


def test_servers_do_not_meet(folder):
    """Two at once have a port, password and directory each; the later one does not take the first for lost."""
    with disposable_server() as first, disposable_server() as second:
        assert first != second
        assert reachable(first)
        assert reachable(second)


def test_next_server_deletes_an_orphaned_one(folder):
    """A server whose process was killed with -9 ends when the next one is made, and no sooner do others' servers."""
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as owner:
        orphan = owner.stdout.readline().strip()
        with disposable_server():
            assert reachable(orphan)
        owner.send_signal(signal.SIGKILL)
    assert reachable(orphan)

    with disposable_server():
        assert not reachable(orphan)
    assert list(folder.iterdir()) == []


def test_a_link_of_that_name_is_not_followed(folder, home):
    """In a directory that everyone can write to, a planted link does not make us delete its target."""
    precious = home / "precious"
    precious.mkdir()
    (folder / "goldentree-server-trap").symlink_to(precious)
    with disposable_server():
        pass

    assert precious.exists()
