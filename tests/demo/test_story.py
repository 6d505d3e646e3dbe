"""The demo, run as a newcomer runs it."""

from __future__ import annotations

import re
import signal
import subprocess

import psycopg
import pytest

from tasks_lib.databases.server.embedded import service

DEMO = "tasks_lib.demo"


def test_demo_shows_the_whole_workflow(run, folder):
    """It shows what happened, hides the password, and leaves neither server nor file."""
    status, story, errors = run(DEMO)

    assert (status, errors) == (0, "")
    ((login, port),) = set(re.findall(r"postgresql://(\S+)@127\.0\.0\.1:(\d+)/", story))
    assert login == "goldentree:***"
    told = [
        "$ inv golden.build",
        "· 16 of 16 blocks made",
        "numbers       made   +15005550006",
        "$ inv golden.verify",
        "✓ phone numbers                       1, +15005550006 answered by Text Reply",
        "$ inv worktree.create feat-x",
        "dumping loquent_latest, as 3 sessions are connected to golden",
        "✓ clone loquent_latest into loquent_feat_x_6212b5 · snapshot of ",
        " was taken just now: ",
        "address   http://localhost:",
        "contacts          10              10",
        "agents            9               9",
        "phones            1               1",
        "seaql_migrations  297             297",
        "297 of SeaORM, the last one m20260601_320000_backfill_",
        "6 of Alembic: m001_baseline, m002_plans, m003_agents, m004_telephony, ",
        "2 of Alembic: m007_create_callback, m008_add_contact_channel",
        "still pending  0",
        "sms                Zoë Ångström",
        "class Callback(Base):",
        " APP_HOST=https://ada-loquent.ngrok-free.app",
        "+WORKTREE_SLUG=feat_x_6212b5",
        "All 3 connections to loquent_latest are still open",
        "$ inv worktree.create feat-y",
        " is current: ",
        "$ inv worktree.remove feat-x --keep-branch",
        "The server is stopped",
    ]
    for line in told:
        assert line in story
        story = story[story.index(line) :]  # in this order
    assert list(folder.iterdir()) == []
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(host="127.0.0.1", port=port, user="goldentree", password="x", dbname="postgres")


def test_kept_demo_can_be_continued_by_hand(run, folder):
    """With --keep everything stays, and the printed commands to continue and to delete it work."""
    status, story, errors = run(DEMO, "--keep")

    (root,) = folder.iterdir()
    password = service.read_service(root / "server" / "pg_service.conf").password
    assert status == 0
    assert password not in story + errors
    *by_hand, delete = [line for line in story.partition("Your turn")[2].splitlines() if line.startswith("    ")]
    shell = subprocess.run(["bash", "-e"], input="\n".join(by_hand), capture_output=True, text=True, check=True)
    assert re.search(r"^feat-x +ready +clean, ahead 1 +loquent_feat_x_6212b5", shell.stdout, re.MULTILINE)
    assert shell.stdout.endswith("\n  小明\n  Ben O'Hara\n  Zoë Ångström\n")
    subprocess.run(["bash", "-e"], input=delete, capture_output=True, text=True, check=True)
    assert list(folder.iterdir()) == []


def test_interrupted_demo_leaves_nothing(start, folder):
    """On SIGTERM, the running command rolls back before the server stops, and everything is deleted."""
    with start(DEMO) as child:
        story = ""
        for line in child.stdout:
            if line.startswith("✓ clone"):
                child.send_signal(signal.SIGTERM)
            story += line
        assert child.stderr.read() == "interrupted\n"

    assert child.returncode == 130
    assert "↶ undone: clone loquent_latest into loquent_feat_x_6212b5\n" in story
    assert "could not undo" not in story
    assert list(folder.iterdir()) == []
