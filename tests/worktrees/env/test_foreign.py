"""Which databases a worktree's tools must not touch, and what each of them is."""

from __future__ import annotations

import os

import pytest

from tasks_lib.databases.ownership.proof import list_commented
from tasks_lib.git.repository import Repository
from tasks_lib.settings import load
from tasks_lib.settings.values import Origin
from tasks_lib.worktrees.env import foreign
from tasks_lib.worktrees.project import Project
from tests.signing import OTHER


@pytest.fixture
def project(repository):
    """Return the project of a repository with a companion, whose application uses a database of its own."""
    companion = {"name": f"world{repository.prefix}", "env": "WORLD_URL", "template": "world_latest"}
    main = repository.path
    env = (main / ".env").read_text()
    world = f"WORLD_URL={repository.url.rpartition('/')[0]}/world_of_main\n"
    (main / ".env").write_text(env.replace("/loquent_latest'", "/app_dev'") + world)
    found = Repository.find(main)
    return Project(found, load(main, {"db.companions": Origin([companion], "invoke.yaml")}, os.environ))


def foreign_to(project, slug):
    with project.server.connect() as connection:
        comments = list_commented(connection, project.registry.signer, "", usable=True)
    return foreign.list_foreign_databases(project, slug, comments)


def test_every_database_but_the_own_is_foreign(repository, project):
    """Golden, templates, main's database, other worktrees' and parked ones are listed, each as what it is."""
    repository.json("worktree.create", "a")
    repository.json("worktree.create", "b")
    (record,) = (record for record in project.registry.records() if record.identity.branch == "a")
    found = foreign_to(project, record.slug)
    other = repository.records()["b_e9d71f"]["identity"]["database"]
    assert {name: found.get(name) for name in ("loquent_latest", "world_latest", "app_dev", other)} == {
        "loquent_latest": "the golden template",
        "world_latest": f"the template of companion `world{repository.prefix}`",
        "app_dev": "the main worktree's database",
        other: "the database of worktree `b_e9d71f`",
    }
    assert record.identity.database not in found
    assert found[f"world{repository.prefix}_b_e9d71f"] == "the database of worktree `b_e9d71f`"
    assert f"world{repository.prefix}_{record.slug}" not in found
    of_main = f"the main worktree's database of companion `world{repository.prefix}`"
    assert (found[f"world{repository.prefix}"], found["world_of_main"]) == (of_main, of_main)

    repository.json("worktree.remove", "b")
    (parked,) = repository.databases(parked=True)
    assert foreign_to(project, record.slug)[parked] == "a parked database of worktree `b_e9d71f`"


def test_another_repositorys_databases_are_foreign(repository, project, monkeypatch):
    """A database with the comment of another repository is not this one's to change."""
    repository.json("worktree.create", "a")
    (name,) = repository.databases()
    monkeypatch.setattr(type(project.registry), "signer", OTHER)
    monkeypatch.setattr(type(project.registry), "records", lambda _: [])
    assert foreign_to(project, "a")[name] == "the database of worktree `a_86f7e4` of another repository"
