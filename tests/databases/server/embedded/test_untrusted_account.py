"""Root runs the server as another account: what that account writes makes root end no process and touch no file."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tasks_lib.databases.server.embedded import installation
from tasks_lib.databases.server.embedded.account import unprivileged_account
from tasks_lib.databases.server.embedded.cluster import Cluster, default_root
from tasks_lib.errors import ServerError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")


@pytest.fixture
def cluster():
    """Give a data directory as another account may have left it, without a server; the `home` fixture removes it."""
    made = Cluster(default_root(), durable=False)
    made.data.mkdir(parents=True)
    made.root.chmod(0o711)
    os.chown(made.data, unprivileged_account().pw_uid, -1)
    yield made
    (made.data / "postmaster.pid").unlink(missing_ok=True)


@pytest.fixture
def precious(home):
    file = home / "precious"
    file.write_text("root's own\n")
    file.chmod(0o600)
    return file


def outcomes(cluster):
    """Call everything that looks at the pid file, and return what each said."""
    said = []
    for action in (cluster.status, cluster.find_url, cluster.start, cluster.stop, cluster.destroy):
        with pytest.raises(ServerError) as caught:
            action()
        said.append(caught.value.what)
    return said


@pytest.mark.parametrize("name", ["postmaster.pid", "PG_VERSION"])
def test_link_in_the_data_is_not_followed(cluster, precious, name):
    """It is refused by name, and its target is neither shown nor changed."""
    (cluster.data / name).symlink_to(precious)
    with pytest.raises(ServerError, match=f"{name}` is not an ordinary file") as caught:
        cluster.status()
    with pytest.raises(ServerError):
        cluster.start()

    assert "root's own" not in str(caught.value)
    assert precious.read_text() == "root's own\n"
    (cluster.data / name).unlink()


def test_pipe_for_a_pid_file_makes_nothing_wait(cluster):
    """A pipe that no process writes to would stop every command for ever."""
    os.mkfifo(cluster.data / "postmaster.pid")

    assert all("is not an ordinary file" in what for what in outcomes(cluster))


@pytest.mark.parametrize("directory", ["{data}", ""])
def test_process_of_another_account_is_not_ended(cluster, directory):
    """Whatever the pid file names, and whatever that process calls itself."""
    directory = directory.format(data=cluster.data)
    code = "import time; print(flush=True); time.sleep(60)"
    arguments = ["postgres", "-c", code, "-D", directory]
    precious = subprocess.Popen(arguments, executable=sys.executable, stdout=subprocess.PIPE, cwd=cluster.data)
    try:
        precious.stdout.readline()
        now = int(time.time())
        (cluster.data / "postmaster.pid").write_text(f"{precious.pid}\n{directory}\n{now}\n1\n\n127.0.0.1\n\nready\n")

        assert not cluster.status().running
        cluster.stop()
        cluster.destroy()
        assert precious.poll() is None
    finally:
        precious.kill()
        precious.communicate()


def test_settings_are_written_by_the_account_itself(cluster, precious, monkeypatch):
    """A link in place of the settings' file cannot make root write into its own files."""
    cluster.data.rmdir()
    run_as, planted = installation.run_as, []

    def plant(account, command, **options):
        ended = run_as(account, command, **options)
        if not planted:
            (settings,) = cluster.root.glob("making-*/data/postgresql.conf")
            settings.unlink()
            settings.symlink_to(precious)
            planted.append(settings)
        return ended

    monkeypatch.setattr(installation, "run_as", plant)
    with pytest.raises(ServerError, match="Permission denied"):
        cluster.start()

    assert planted
    assert precious.read_text() == "root's own\n"
    assert not cluster.data.exists()
