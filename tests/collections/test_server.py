"""The embedded server, through `inv`."""

from __future__ import annotations

import subprocess

import psycopg

from tasks_lib.databases.server.binaries import find_server_programs
from tasks_lib.databases.server.embedded.cluster import Cluster


def test_create_works_without_a_database_url(repository, home):
    """The server starts when it is needed; `server.stop` keeps its databases."""
    (repository.path / ".env").write_text("APP_HOST=x\n")
    assert repository.json("server.status")["running"] is False
    assert "would start the server in" in repository.inv("-R", "server.start").stdout
    started = repository.json("server.start")
    assert started["running"] is True
    assert repository.json("server.start")["pid"] == started["pid"]
    password = Cluster(home / "goldentree").start().partition("@")[0].rpartition(":")[2]
    said = repository.inv("server.status")
    assert f"{started['port']} (pid {started['pid']})" in said.stdout
    assert password not in said.stdout + said.stderr

    assert "golden template `app_latest` does not exist" in repository.refuses("worktree.create", "a")
    with psycopg.connect(Cluster(home / "goldentree").start(), autocommit=True) as server:
        server.execute("CREATE DATABASE app_latest")
    created = repository.json("worktree.create", "a")
    assert created["clone"]["method"] != "kept"
    assert repository.env("a")["DATABASE_URL"].endswith(f"@127.0.0.1:{started['port']}/app_a_86f7e4")

    stopped = repository.json("server.stop")
    assert stopped["running"] is False
    removed = repository.json("worktree.remove", "a")  # starts it again
    assert removed["databases"] == "parked"
    assert repository.json("server.status")["port"] == started["port"]


def test_the_service_file_lets_psql_in(repository):
    """The login command that `server.status` prints works unchanged."""
    repository.json("server.start")
    line = next(line for line in repository.inv("server.status").stdout.splitlines() if line.startswith("log in"))
    psql = find_server_programs().program("psql")
    command = line.removeprefix("log in").strip().replace(" psql ", f" {psql} ")
    result = subprocess.run(
        f"{command} --no-psqlrc --tuples-only --command 'SELECT 40 + 2'",
        shell=True,
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "42"
