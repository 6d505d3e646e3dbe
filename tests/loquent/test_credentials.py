"""`.local-credentials`, and hashes of passwords."""

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


def test_new_file_is_private(path, monkeypatch):
    """It has a header and a line for each login, and under any umask only its owner may read it."""
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
    ("existing", "added"),
    [
        (b"", HEADER.encode()),
        (b"a@b.c / mine", b"\n"),
        (b"\xef\xbb\xbf# caf\xc3\xa9: x / y\r\n\r\n  A@B.c\t/  a / b c \r\n", b""),
    ],
)
def test_existing_lines_are_kept(path, existing, added):
    """Every byte stays; before the secret is written, a missing final newline is added and the mode is restricted."""
    path.write_bytes(existing)
    path.chmod(0o644)
    password, new = Credentials(path).ensure("new@example.com")
    assert new
    assert path.read_bytes() == existing + added + f"new@example.com / {password}\n".encode()
    assert mode(path) == 0o600


def test_lines_by_hand_are_read(path):
    """Blanks around the slash, slashes in passwords and CRLF are accepted; the last of two lines counts."""
    path.write_text("# c@d.e / no\r\n  A@B.c\t/  a / b c \r\nc@d.e /\n / x\nf@g.h / old\nF@G.h / new\n", newline="")
    credentials = Credentials(path)
    found = {email: credentials.password(email) for email in ("a@b.c", "c@d.e", "f@g.h")}
    assert found == {"a@b.c": "a / b c", "c@d.e": None, "f@g.h": "new"}
    assert credentials.ensure("a@b.c") == ("a / b c", False)


def test_unsafe_files_are_refused(tmp_path, monkeypatch):
    """A link, a directory, a pipe, binary data and another user's file are refused and left unchanged."""
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


def test_full_disk_leaves_no_partial_line(path):
    """A line that does not fit is removed again, so the next attempt succeeds."""
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


def test_concurrent_processes_agree_on_passwords(path):
    """Processes that ask for the same logins wait for each other and get the same passwords; no line is lost."""
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


def test_hash_matches_its_password_only():
    """Hashes are salted Argon2id in PHC format; a password matches its own hash, and no hash of another kind."""
    first, second = hash_password("pässwörd"), hash_password("pässwörd")
    assert first.startswith("$argon2id$v=19$m=")
    assert first != second
    assert verify_password("pässwörd", first)
    assert not verify_password("other", first)
    for odd in ("", "$fixture$nobody-can-sign-in-with-this", "$2b$12$abc", "$argon2id$v=19$", "ö"):
        assert not verify_password("pässwörd", odd)
