"""The tasks of `account`, run through `inv`; no credentials are ever seen."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess

import pytest

from tests import inprocess

CANARY = "canary-5f2c"


@pytest.fixture
def inv(tmp_path):
    """Give a function that runs tasks, one after the other, and returns what was said; never with the canary."""
    (tmp_path / "tasks.py").write_text("from tasks_lib import ns\n")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", "Start"], cwd=tmp_path, check=True)

    def run(*tasks, text="", status=0, core=("--no-dedupe",)):
        command = [*core, *(word for task in tasks for word in shlex.split(task))]
        done = inprocess.inv(tmp_path, {}, *command, text=text)
        assert done.returncode == status, done.stdout + done.stderr
        assert CANARY not in "".join([*command, done.stdout, done.stderr])
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def data(inv):
    """Give a function that runs tasks with `--json`, and returns the data of each."""

    def run(*tasks, **options):
        said, found = inv(*(f"{task} --json" for task in tasks), **options).strip(), []
        while said:
            document, end = json.JSONDecoder().raw_decode(said)
            found.append(document["data"])
            said = said[end:].strip()
        return found

    return run


def test_accounts_are_used_in_turn(inv, data):
    """The one used longest ago comes first; who is exhausted is passed over, until its limit ends or it is cleared."""
    data("account.add a@x", "account.add b@x", "account.add c@x --provider codex")
    assert "`a@x` of claude exists already" in inv("account.add a@x", status=1)
    turns = data(*["account.next"] * 3, "account.next --provider codex")
    assert [turn["account"]["email"] for turn in turns] == ["a@x", "b@x", "a@x", "c@x"]
    assert inv("account.next", core=["-R"]) == "would take b@x\n"
    _, turn, limited, shorter = data(
        "account.exhausted a@x",
        "account.next",
        "account.exhausted b@x --until 2h",
        "account.exhausted b@x --until 2020-01-01T00:00Z",
    )
    assert turn["account"]["email"] == "b@x"
    assert limited["exhausted_until"] == shorter["exhausted_until"]
    [none] = data("account.next", status=3)
    assert none == {"account": None, "free_at": limited["exhausted_until"]}
    assert "`soon` is not a time" in inv("account.exhausted b@x --until soon", status=1)
    said = inv("account.list", "account.clear b@x", "account.next", "account.delete b@x", "account.list")
    assert "exhausted until it is cleared" in said
    assert "cleared 1\naccount  b@x" in said
    assert said.rpartition("deleted b@x")[2].count("@x") == 2


def test_credentials_are_never_printed(inv, data, tmp_path):
    """They go in by a file or standard input and out to a new file of mode 0600, and are printed nowhere."""
    secret, out = tmp_path / "secret", tmp_path / "out"
    secret.write_text(f"{CANARY}-old")
    added = data(f"account.add a@x --credentials-file {secret}", "account.add b@x --credentials-file -", text=CANARY)
    assert [account["credentials"] for account in added] == [True, True]
    secret.write_text(f"{CANARY}-new")
    data(f"account.add a@x --credentials-file {secret}", f"account.next --write {out}", "account.list")
    inv("account.list", "account.exhausted b@x --until 1h", "account.clear b@x")
    assert (out.read_text(), stat.S_IMODE(out.stat().st_mode)) == (f"{CANARY}-new", 0o600)
    assert "File exists\n  no turn was taken" in inv(f"account.next --write {out}", status=1)
    [after] = data("account.next")
    assert after["account"]["email"] == "b@x"
    secret.write_bytes(CANARY.encode() + b"\xff")
    assert "is not UTF-8 text" in inv(f"account.add d@x --credentials-file {secret}", status=1)
    data("account.add e@x --provider codex")
    assert "has no credentials" in inv(f"account.next --provider codex --write {out}2", status=1)
