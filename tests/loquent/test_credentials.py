"""`.local-credentials`: what is kept, what is appended, who may read it; and hashes of passwords."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import time

import pytest

from tasks_lib.errors import SettingsError
from tasks_lib.loquent.credentials import HEADER, Credentials, hash_password, verify_password


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".local-credentials"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file(path, monkeypatch):
    """It begins with a remark, holds one line for each login, and is nobody else's to read under any umask."""
    credentials = Credentials(path)
    assert credentials.password("owner@example.com") is None
    assert not path.exists()
    before = os.umask(0)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fchmod", lambda *_: None)  # from the first moment, not only later
            owner, new = credentials.ensure("Owner@Example.com")
    finally:
        os.umask(before)
    assert new
    assert mode(path) == 0o600
    before = os.umask(0o777)
    try:
        other = Credentials(path.with_name("other"))
        assert other.ensure("a@example.com")[1]
    finally:
        os.umask(before)
    assert mode(other.path) == 0o600

    staff, _ = credentials.ensure("staff@example.com")
    assert path.read_text() == f"{HEADER}owner@example.com / {owner}\nstaff@example.com / {staff}\n"
    assert len(owner) >= 20
    assert owner != staff
    assert credentials.ensure("OWNER@example.com") == (owner, False)
    assert credentials.password("STAFF@example.com") == staff
    assert owner not in repr(credentials)


@pytest.mark.parametrize(
    ("there", "mended"),
    [
        (b"", HEADER.encode()),
        (b"a@b.c / mine", b"\n"),
        (b"\xef\xbb\xbf# caf\xc3\xa9: x / y\r\n\r\n  A@B.c\t/  a / b c \r\n", b""),
    ],
)
def test_what_people_wrote_stays(path, there, mended):
    """Every byte; a missing final newline is mended, and a wider mode is narrowed, before the secret goes in."""
    path.write_bytes(there)
    path.chmod(0o644)
    password, new = Credentials(path).ensure("new@example.com")
    assert new
    assert path.read_bytes() == there + mended + f"new@example.com / {password}\n".encode()
    assert mode(path) == 0o600


def test_what_people_wrote_is_read(path):
    """Any blanks around the slash, slashes in passwords, CRLF; the last of two lines counts, a remark does not."""
    path.write_text("# c@d.e / no\r\n  A@B.c\t/  a / b c \r\nc@d.e /\n / x\nf@g.h / old\nF@G.h / new\n", newline="")
    credentials = Credentials(path)
    found = {email: credentials.password(email) for email in ("a@b.c", "c@d.e", "f@g.h")}
    assert found == {"a@b.c": "a / b c", "c@d.e": None, "f@g.h": "new"}
    assert credentials.ensure("a@b.c") == ("a / b c", False)


def test_what_is_no_place_for_secrets(tmp_path, monkeypatch):
    """A link, a directory, a pipe, bytes that are no text, a file of another user: refused, and left as they were."""
    (tmp_path / "target").write_text("")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("absent")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"a@b.c / \xff\n")

    def refused(name):
        for act in (Credentials.password, Credentials.ensure):
            with pytest.raises(SettingsError) as error:
                act(Credentials(tmp_path / name), "a@b.c")
            assert f"`{tmp_path / name}` " in str(error.value)
        return error.value.what.partition("` ")[2]

    assert refused("link") == refused("dangling") == "is a symbolic link"
    assert refused("directory") == "cannot be used: Is a directory"
    assert refused("pipe") == "is not a regular file of this user"
    assert refused("bytes") == "is not UTF-8 text"
    assert (tmp_path / "bytes").read_bytes() == b"a@b.c / \xff\n"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    (tmp_path / "target").chmod(0o644)
    assert refused("target") == "is not a regular file of this user"
    assert (mode(tmp_path / "target"), (tmp_path / "target").read_text()) == (0o644, "")
    assert not (tmp_path / "absent").exists()

    with pytest.raises(SettingsError, match="cannot be used: No such file or directory"):
        Credentials(tmp_path / "nowhere" / "file").ensure("a@b.c")


def test_a_disk_that_is_full(path):
    """A line that does not fit is taken back, and the next attempt finds the file as it was."""
    there = "x" * 4096 + "\n"
    path.write_text(there)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for room in (0, 10):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(there) + room, limits[1]))
            with pytest.raises(SettingsError, match="cannot be used: "):
                Credentials(path).ensure("a@b.c")
            assert path.read_text() == there
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert Credentials(path).ensure("a@b.c")[1]


def test_many_at_once(path):
    """Processes that ask for the same logins wait for whoever writes, and agree on the passwords; no line is lost."""
    emails = [f"{name}@example.com" for name in "abcdefgh"]
    script = (
        "import sys; from pathlib import Path; from tasks_lib.loquent.credentials import Credentials\n"
        "print('ready', flush=True)\n"
        "for email in sys.argv[2:]: print(email, '/', Credentials(Path(sys.argv[1])).ensure(email)[0])"
    )
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        processes = [
            subprocess.Popen([sys.executable, "-c", script, path, *emails], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)  # for those that would not wait
        file.write("a@example.com / mine\n")
    answers = [process.communicate()[0].splitlines() for process in processes]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == "a@example.com / mine"
    assert path.read_text().splitlines() == answers[0]


def test_hashes():
    """Argon2id in PHC format, salted; a password matches its own, and no hash of another kind."""
    one, two = hash_password("pässwörd"), hash_password("pässwörd")
    assert one.startswith("$argon2id$v=19$m=")
    assert one != two
    assert verify_password("pässwörd", one)
    assert not verify_password("other", one)
    for odd in ("", "$fixture$nobody-can-sign-in-with-this", "$2b$12$abc", "$argon2id$v=19$", "ö"):
        assert not verify_password("pässwörd", odd)
