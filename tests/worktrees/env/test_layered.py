"""Env style `layered`: shared secrets by a link, own keys in the file that wins; and who wins, in every style."""

from __future__ import annotations

import stat

import pytest
from dotenv import dotenv_values


@pytest.fixture
def layered(repository):
    """Give a repository whose settings stand in `.env.local`, in style `layered`."""
    (repository.path / ".env").rename(repository.path / ".env.local")
    with (repository.path / ".env.local").open("a") as file:
        file.write("WORKTREE_ENV=layered\nSECRET=1\n")
    repository.there = repository.worktree("a")
    return repository


def own(repository):
    return dotenv_values(repository.there / ".env.development.local")


def test_layered_style_links_the_main_file(layered):
    """The main worktree's file is linked, never written; the worktree's own holds nothing but its keys."""
    main = layered.path / ".env.local"
    before = main.read_bytes()
    # A file that git does not ignore must not count as uncommitted work.
    (layered.path / ".gitignore").write_text("seed.env\n")
    layered.git("commit", "--quiet", "--all", "--message", "Ignore less")
    created = layered.json("worktree.create", "a")
    assert (layered.there / ".env.local").readlink() == main
    assert own(layered).keys() == {"PORT", "DATABASE_URL", "WORKTREE_SLUG", "WORKTREE_SUBDOMAIN", "WORKTREE_BRANCH"}
    assert own(layered)["DATABASE_URL"].endswith(created["database"])
    assert stat.S_IMODE((layered.there / ".env.development.local").stat().st_mode) == 0o600
    assert not (layered.there / ".env").exists()
    assert main.read_bytes() == before
    assert layered.git("status", "--porcelain", cwd=layered.there) == ""
    states = {(row["file"], row["key"]): row["state"] for row in layered.json("worktree.env", "a")["values"]}
    assert {states[".env.local", key] for key in ("SECRET", "DATABASE_URL", "PORT")} == {"main"}
    assert {state for (file, _), state in states.items() if file != ".env.local"} == {"own"}
    ran = layered.inv("db.migrate", cwd=layered.there, env={"WORKTREE_MIGRATE": "echo $DATABASE_URL > ran"})
    assert ran.returncode == 0, ran.stderr
    assert (layered.there / "ran").read_text().strip() == own(layered)["DATABASE_URL"]

    # Without its own key the link would lead to the main worktree's database: the guard names the file that won.
    (layered.there / ".env.development.local").unlink()
    said = layered.inv("db.migrate", cwd=layered.there, env={"WORKTREE_MIGRATE": "touch never"}).stderr
    assert "`DATABASE_URL` in `.env.local` names `loquent_latest`, the golden template" in said
    assert not (layered.there / "never").exists()
    layered.json("worktree.setup", cwd=layered.there)
    assert own(layered)["DATABASE_URL"].endswith(created["database"])
    said = layered.refuses("worktree.create", "b", env={"DATABASE_URL": "postgresql://u:s3cret@127.0.0.1:1/x"})
    assert "but `.env.local` says postgresql://" in said


def test_existing_local_env_file_is_kept_and_named(layered):
    """A `.env.local` that is a file stays and is said; a failure takes back the link, and restores the rest."""
    layered.git("worktree", "add", "--quiet", layered.there, "-b", "a")
    said = layered.refuses("worktree.setup", cwd=layered.there, env={"WORKTREE_MIGRATE": "exit 3"})
    assert "exited with 3" in said
    assert not list(layered.there.glob(".env*"))
    (layered.there / ".env.local").write_text("MINE=1\n")
    (layered.there / ".env.development.local").write_text("MINE=2\n")
    result = layered.inv("worktree.setup", cwd=layered.there)
    assert ".env.local is this worktree's own, and stays" in result.stderr
    assert (layered.there / ".env.local").read_text() == "MINE=1\n"
    assert own(layered)["MINE"] == "2"
    assert "DATABASE_URL" in own(layered)


def test_a_file_that_frameworks_prefer_is_refused(repository):
    """In style `copy` a `.env.local` that names another database is refused, with the cure."""
    other = repository.url.rpartition("/")[0] + "/other"
    repository.json("worktree.create", "a")
    there = repository.worktree("a")
    (there / ".env.local").write_text(f"DATABASE_URL={other}\n")
    said = repository.refuses("db.migrate", cwd=there, env={"WORKTREE_MIGRATE": "touch never"})
    assert f"DATABASE_URL in `{there}/.env.local` names database `other`" in said
    assert "many frameworks read .env.local before .env" in said
    assert "WORKTREE_ENV=layered" in said
    assert "many frameworks" in repository.refuses("worktree.setup", cwd=there)
    (there / ".env.local").write_text((there / ".env").read_text())
    assert repository.inv("db.migrate", cwd=there, env={"WORKTREE_MIGRATE": "touch ran"}).returncode == 0


def test_a_copied_file_that_frameworks_prefer_is_renamed(repository):
    """What it names is the main worktree's database as well, though `.env` names golden."""
    (repository.path / ".env.local").write_text(f"DATABASE_URL={repository.url.rpartition('/')[0]}/other\n")
    (repository.path / ".worktreeinclude").write_text(".env*\n")

    made = repository.json("worktree.create", "b")

    assert (repository.worktree("b") / ".env.local").read_text().endswith(f"/{made['database']}\n")


def test_a_shared_file_is_overridden_by_the_own_one(layered):
    """A further key of the linked file that names golden gets its value from the worktree's own file."""
    main = layered.path / ".env.local"
    with main.open("a") as file:
        file.write(f"POSTGRES_URL={layered.url}?x=1\n")
    before = main.read_bytes()

    made = layered.json("worktree.create", "a")

    assert own(layered)["POSTGRES_URL"].endswith(f"/{made['database']}?x=1")
    assert main.read_bytes() == before
    assert layered.json("worktree.status", "a")["problems"] == []


def test_a_database_on_another_server_is_reported(repository):
    """It stays as it is, and the output does not show its password."""
    with (repository.path / ".env").open("a") as file:
        file.write("OTHER=postgresql://u:pass@127.0.0.1:1/x\n")
    repository.json("worktree.create", "a")
    said = repository.inv("worktree.status", "a").stdout
    assert "`OTHER` in `.env` names `x`, a database on another server, 127.0.0.1:1" in said
    assert "pass@" not in said
