"""The smoke test passes if everything works, and fails if a clone is wrong."""

from __future__ import annotations

import os

import pytest

from tasks_lib.databases.server.connection import Server
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.demo import smoke
from tasks_lib.demo.stage import Stage
from tasks_lib.errors import GoldentreeError

SMOKE = "tasks_lib.demo.smoke"


def test_smoke_passes_and_leaves_nothing(run, folder):
    """It prints the counts of source and clone, then a line for each proof, and leaves nothing."""
    status, proofs, errors = run(SMOKE)

    assert status == 0, errors
    assert proofs.splitlines()[:5] == [
        "golden from nothing: OK, 16 blocks, 8 checks; building it again changes nothing",
        "clone pipeline: OK",
        "source  contacts=10  agents=9  phones=1",
        "clone   contacts=10  agents=9  phones=1",
        "seaql_migrations carried over: 297 applied",
    ]
    assert [line.partition(":")[0] for line in proofs.splitlines()[6:]] == [
        "second worktree beside the first",
        "migrations are separate",
        "rows are separate",
        "ports are separate",
        "env files are separate",
        "removal is separate",
        "removal can be undone",
    ]
    assert list(folder.iterdir()) == []


def test_smoke_fails_if_a_clone_differs(run, folder, home):
    """A clone that lacks a row fails it: here the user's migrate command deletes one."""
    delete = "import os, psycopg; psycopg.connect(autocommit=True).execute('DELETE FROM call')"
    (home / ".invoke.yaml").write_text(f'db: {{migrate: "alembic upgrade heads && python -c \\"{delete}\\""}}\n')

    status, proofs, errors = run(SMOKE)

    assert (status, proofs.count("\n")) == (1, 1), errors
    assert errors.endswith(
        "error: smoke: the clone is not what golden is\n  tables `public.call`: 1 in golden, 0 in the clone\n"
    )
    assert list(folder.iterdir()) == []


def test_smoke_fails_if_worktrees_share_a_database(repository, server_url):
    """Two worktrees on one database fail it: the row of one is seen in the other."""
    made = repository.json("worktree.create", "feat-y")
    stage = Stage(repository.path.parent, repository.path, Server(DatabaseUrl.parse(server_url)), os.environ)

    with pytest.raises(GoldentreeError, match=r"went astray\n  \[10, 10, 10\] -> \[11, 11, 10\]"):
        smoke.prove_rows(stage, made, made)
