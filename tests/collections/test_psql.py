"""`db.psql`: psql on this worktree's database, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def test_psql(repository, home):
    """It is on this worktree's database whatever is exported; arguments arrive as written, psql's status comes back."""
    repository.json("worktree.create", "a")
    here, database = repository.worktree("a"), repository.env("a")["DATABASE_URL"].rpartition("/")[2]
    (home / ".pg_service.conf").write_text("[other]\ndbname=postgres\n")
    (home / ".psqlrc").write_text("\\set greeting hello\n")
    elsewhere = {"PGDATABASE": "postgres", "PGOPTIONS": "-c work_mem=5MB", "PGSERVICE": "other"}
    query = "SELECT current_database(), current_setting('work_mem'), 'a ''b'' -- \"c\"', :'greeting', :'word'"
    arguments = ("--quiet", "-At", "--set", "word=two -- words", "-f", "query file.sql", "--")
    (here / "query file.sql").write_text(query)
    found = repository.inv("db.psql", "--", *arguments, cwd=here, env=elsewhere)
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"{database}|5MB|a 'b' -- \"c\"|hello|two -- words\n"

    failed = repository.inv("db.psql", "--", "--set", "ON_ERROR_STOP=1", "-f", "-nothing.sql", cwd=here)
    assert (failed.returncode, failed.stdout) == (1, ""), failed.stderr
    lost = repository.inv("db.psql", "--", "-c", "SELECT pg_terminate_backend(pg_backend_pid())", cwd=here)
    assert lost.returncode == 2

    # Who reads only the beginning ends psql as it ends everything else.
    command = [sys.executable, "-m", "invoke", "db.psql", "--", "-Atc", "SELECT generate_series(1, 100000)"]
    piped = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
    assert piped.stdout.readline() == b"1\n"
    piped.stdout.close()
    assert piped.stderr.read() == b""
    piped.stderr.close()
    assert piped.wait(60) == -13

    # What would be run is told without being run, and without the password.
    password = repository.url.partition("@")[0].rpartition(":")[2]
    planned = repository.inv("-R", "db.psql", "--", "-c", "SELECT 1", cwd=here)
    assert planned.stdout.startswith("would run ")
    assert " -c 'SELECT 1' on postgresql://" in planned.stdout
    answer = repository.inv("db.psql", "--json", "--", "-c", "SELECT 1", cwd=here).stdout
    data = json.loads(answer)["data"]
    assert (data["command"][1:], data["database"]) == (["-c", "SELECT 1"], database)
    assert password not in planned.stdout + planned.stderr + answer

    # Nothing but a worktree's own.
    assert "is the main worktree" in repository.refuses("db.psql")
    assert "unset DATABASE_URL" in repository.refuses("db.psql", cwd=here, env={"DATABASE_URL": repository.url})
