"""The tasks of `account`, run through `inv`; no credentials are ever seen."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest

CANARY = "canary-5f2c"


@pytest.fixture
def inv(tmp_path):
    """Give a function that runs `inv` in a repository and returns status, answer and narration, without the canary."""
    path = tmp_path / "app"
    path.mkdir()
    (path / "tasks.py").write_text("from tasks_lib import ns\n")
    subprocess.run(["git", "init", "--quiet"], cwd=path, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", "Start"], cwd=path, check=True)

    def run(*arguments, text="", status=0):
        assert CANARY not in "".join(arguments)
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=path, input=text, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert CANARY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    return run


def test_accounts(inv, tmp_path):
    """They take turns; credentials go in by a file or standard input and out to a new file, and are never printed."""

    def data(*arguments, **options):
        return json.loads(inv(*arguments, "--json", **options)[0])["data"]

    file = tmp_path / "credentials"
    file.write_text(f"{CANARY}-a")
    assert data("account.add", "a@x", "--credentials-file", str(file))["credentials"] is True
    assert data("account.add", "b@x", "--credentials-file", "-", text=f"{CANARY}-b\n")["credentials"] is True
    assert "is known" in inv("account.add", "a@x", status=1)[1]
    data("account.add", "c@x", "--provider", "codex")
    file.write_bytes(CANARY.encode() + b"\xff")
    assert "is not UTF-8" in inv("account.add", "d@x", "--credentials-file", str(file), status=1)[1]
    assert inv("account.list")[0].count("never") == 3

    written = tmp_path / "out"
    turns = [data("account.next")["account"]["email"] for _ in range(3)]
    assert turns == ["a@x", "b@x", "a@x"]
    assert "take b@x" in inv("-R", "account.next")[0]
    inv("account.next", "--write", str(written))
    assert (written.read_text(), stat.S_IMODE(written.stat().st_mode)) == (f"{CANARY}-b", 0o600)
    assert "File exists" in inv("account.next", "--write", str(written), status=1)[1]
    assert data("account.next")["account"]["email"] == "a@x"  # its turn was not lost
    assert "has no credentials" in inv("account.next", "--provider", "codex", "--write", f"{written}2", status=1)[1]

    assert "exhausted until it is cleared" in inv("account.exhausted", "a@x")[0]
    assert data("account.next")["account"]["email"] == "b@x"
    until = data("account.exhausted", "b@x", "--until", "2h")["exhausted_until"]
    assert data("account.exhausted", "b@x", "--until", "2020-01-01T00:00Z")["exhausted_until"] == until
    assert data("account.next", status=3) == {"account": None, "free_at": until}
    assert "the first is free at" in inv("account.next", status=3)[0]
    assert "is no time" in inv("account.exhausted", "b@x", "--until", "soon", status=1)[1]
    assert data("account.clear") == {"cleared": 0}
    assert data("account.clear", "b@x") == {"cleared": 1}
    assert data("account.delete", "b@x")["email"] == "b@x"
    assert [one["email"] for one in data("account.list")] == ["a@x", "c@x"]
