"""`db.psql`: psql on this worktree's database, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def here(repository):
    """Create a worktree, and return where it is."""
    repository.json("worktree.create", "a")
    return repository.worktree("a")


def test_psql_opens_the_worktrees_database(repository, home, here):
    """Exported variables do not lead it to another database, and its arguments arrive as written."""
    database = repository.env("a")["DATABASE_URL"].rpartition("/")[2]
    (home / ".pg_service.conf").write_text("[other]\ndbname=postgres\n")
    (home / ".psqlrc").write_text("\\set greeting hello\n")
    elsewhere = {"PGDATABASE": "postgres", "PGOPTIONS": "-c work_mem=5MB", "PGSERVICE": "other"}
    query = "SELECT current_database(), current_setting('work_mem'), 'a ''b'' -- \"c\"', :'greeting', :'word'"
    arguments = ("--quiet", "-At", "--set", "word=two -- words", "-f", "query file.sql", "--")
    (here / "query file.sql").write_text(query)
    found = repository.inv("db.psql", "--", *arguments, cwd=here, env=elsewhere)
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"{database}|5MB|a 'b' -- \"c\"|hello|two -- words\n"


def test_psqls_exit_status_is_returned(repository, here):
    """An error of a script and a lost connection have psql's own status."""
    failed = repository.inv("db.psql", "--", "--set", "ON_ERROR_STOP=1", "-f", "-nothing.sql", cwd=here)
    assert (failed.returncode, failed.stdout) == (1, ""), failed.stderr
    lost = repository.inv("db.psql", "--", "-c", "SELECT pg_terminate_backend(pg_backend_pid())", cwd=here)
    assert lost.returncode == 2


def test_closed_pipe_ends_psql_silently(here):
    """Psql ends by SIGPIPE when its reader closes the pipe, and nothing is printed."""
    command = [sys.executable, "-m", "invoke", "db.psql", "--", "-Atc", "SELECT generate_series(1, 100000)"]
    piped = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
    assert piped.stdout.readline() == b"1\n"
    piped.stdout.close()
    assert piped.stderr.read() == b""
    piped.stderr.close()
    assert piped.wait(60) == -13


def test_dry_run_prints_the_command_without_the_password(repository, here):
    """`-R` and `--json` print the command and the database, and run nothing."""
    database = repository.env("a")["DATABASE_URL"].rpartition("/")[2]
    password = repository.url.partition("@")[0].rpartition(":")[2]
    planned = repository.inv("-R", "db.psql", "--", "-c", "SELECT 1", cwd=here)
    assert planned.stdout.startswith("would run ")
    assert " -c 'SELECT 1' on postgresql://" in planned.stdout
    answer = repository.inv("db.psql", "--json", "--", "-c", "SELECT 1", cwd=here).stdout
    data = json.loads(answer)["data"]
    assert (data["command"][1:], data["database"]) == (["-c", "SELECT 1"], database)
    assert password not in planned.stdout + planned.stderr + answer


def test_other_databases_are_refused(repository, here):
    """Psql is not opened in the main worktree, nor if another DATABASE_URL is exported."""
    assert "is the main worktree" in repository.refuses("db.psql")
    assert "unset DATABASE_URL" in repository.refuses("db.psql", cwd=here, env={"DATABASE_URL": repository.url})
