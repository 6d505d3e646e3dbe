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


def test_a_server_for_a_block(folder):
    """Inside the block there is a fast server; afterwards neither it nor its directory."""
    with disposable_server() as url, psycopg.connect(url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)

    assert not reachable(url)
    assert list(folder.iterdir()) == []


def test_a_block_that_fails(folder):
    """An exception inside the block passes through, and the server goes all the same."""
    with pytest.raises(ZeroDivisionError), disposable_server() as url:
        _ = 1 / 0

    assert not reachable(url)
    assert list(folder.iterdir()) == []


def test_servers_do_not_meet(folder):
    """Two at once have a port, password and directory each; the later one does not take the first for lost."""
    with disposable_server() as one, disposable_server() as other:
        assert one != other
        assert reachable(one)
        assert reachable(other)


def test_the_next_one_removes_an_orphan(folder):
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
