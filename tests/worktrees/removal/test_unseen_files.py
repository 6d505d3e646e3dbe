"""What `git status` does not show is kept with a removed worktree, and comes back byte for byte."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

IGNORED = "*.sqlite3*\n*.db\ndata/\nbuild/\nnode_modules/\n__pycache__/\nlink\nmodels/\nbig.bin\ncopied\n"


@pytest.fixture
def created(repository):
    """Give a repository with a worktree of branch `a`, without a database, and files that git ignores or tracks."""
    (repository.path / ".gitignore").write_text(f".env*\n{IGNORED}")
    for name in ("config.yml", "local.yml"):
        (repository.path / name).write_text("shared\n")
    repository.commit("Files")
    repository.json("worktree.create", "a", "--no-db")
    repository.there = repository.worktree("a")
    return repository


def put(folder, files):
    """Write *files*, texts by path."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def facts(folder, names):
    """Return what must come back of each file: kind, bits, time and content."""
    found = {}
    for name in names:
        status = (folder / name).lstat()
        content = (folder / name).readlink() if (folder / name).is_symlink() else (folder / name).read_bytes()
        time = None if (folder / name).is_symlink() else status.st_mtime_ns
        found[name] = (stat.filemode(status.st_mode), time, content)
    return found


def test_ignored_files_and_hidden_edits_come_back(created):
    """A database, an env file with a further key, a link, edits that git overlooks: with bits and times."""
    there = created.there
    put(there, {"dev.sqlite3": "rows\n", "data/deep/secret": "s3cret\n", "config.yml": "mine\n", "local.yml": "mine\n"})
    with (there / ".env").open("a") as env:
        env.write("ONLY_HERE=1\n")
    (there / "link").symlink_to("nowhere")
    created.git("update-index", "--skip-worktree", "config.yml", cwd=there)
    created.git("update-index", "--assume-unchanged", "local.yml", cwd=there)
    (there / "data/deep/secret").chmod(0o600)
    (there / "data/deep").chmod(0o555)
    names = ("dev.sqlite3", "data/deep/secret", ".env", "link", "config.yml", "local.yml")
    for name in ("dev.sqlite3", "data/deep/secret", ".env"):
        os.utime(there / name, ns=(10**18, 10**18 + 123456789))
    before, tags = facts(there, names), created.git("ls-files", "-v", cwd=there)
    assert created.git("status", "--porcelain", cwd=there) == ""

    assert "keeping " in created.inv("-R", "worktree.remove", "a").stdout
    removed = created.json("worktree.remove", "a")
    assert {file["name"] for file in removed["kept"]} == set(names)
    assert removed["lost"] == []
    (kept,) = (folder for folder in (created.path / ".git/goldentree/removed").iterdir() if folder.is_dir())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    objects = created.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").splitlines()
    assert created.git("hash-object", kept / "data/deep/secret") not in objects

    created.json("worktree.undo", "a")
    assert facts(there, names) == before
    assert created.git("ls-files", "-v", cwd=there) == tags
    assert stat.S_IMODE((there / "data/deep").stat().st_mode) == 0o555
    assert not kept.exists()


def test_what_can_be_made_again_is_not_kept(created):
    """Dependencies, caches and build output, but not a database among it; copies of the main worktree's files."""
    there, cache = created.there, "Signature: 8a477f597d28d172789f06886806bc55\n"
    dropped = {"node_modules/a/index.js": "", "__pycache__/x.pyc": "", "build/out.js": "", "models/CACHEDIR.TAG": cache}
    dropped |= {"models/weights.db": "", "node_modules/a/x.db": ""}
    put(there, {**dropped, "build/app.db": "rows\n", "copied": "same\n"})
    put(created.path, {"copied": "same\n", "one.sqlite3": "a\n"})
    put(there, {"one.sqlite3": "a\n", "one.sqlite3-wal": "newer\n"})
    kept = {file["name"] for file in created.json("worktree.remove", "a")["kept"]}
    assert kept == {"build/app.db", "one.sqlite3", "one.sqlite3-wal"}
    created.json("worktree.undo", "a")
    assert (there / "build/app.db").read_text() == "rows\n"
    assert created.inv("worktree.remove", "a", env={"WORKTREE_KEEP_IGNORED": "1"}).returncode == 1


def test_more_than_the_limit_is_refused_without_force(created):
    """The names and sizes are said. With --force the small files are kept, the others named as lost."""
    put(created.there, {"big.bin": "x" * 5000, "dev.sqlite3": "rows\n"})
    (created.path / "invoke.yaml").write_text("worktree: {keep_ignored: 1 kB}\n")
    said = created.refuses("worktree.remove", "a")
    assert "big.bin (5000 B)" in said
    assert said.splitlines()[-1].strip() == f"inv worktree.remove {created.there} --force"
    removed = created.json("worktree.remove", "a", "--force")
    assert removed["lost"] == [{"name": "big.bin", "bytes": 5000}]
    assert removed["kept"] == [{"name": "dev.sqlite3", "bytes": 5}]
    created.json("worktree.undo", "a")
    assert (created.there / "dev.sqlite3").exists()
    (created.path / "invoke.yaml").write_text("worktree: {keep_ignored: 1 kB, discard: [big.*]}\n")
    put(created.there, {"big.bin": "x" * 5000})
    assert created.json("worktree.remove", "a")["lost"] == []


def test_untouched_env_file_is_not_the_users(created):
    """Neither ignored nor tracked, nor one in which a database was renamed: goldentree writes it again."""
    (created.path / ".git/info/exclude").write_text("/apps/")
    put(created.path, {"apps/web/.env": f"DB_NAME={created.env()['WORKTREE_TEMPLATE_DB']}\nKEY=1\n"})
    put(created.path, {"invoke.yaml": "worktree: {copy: [apps/web/.env], write: {'.env.agent': 'port {port}'}}\n"})
    created.json("worktree.setup", cwd=created.there)
    assert "_latest" not in (created.there / "apps/web/.env").read_text()
    assert created.json("worktree.remove", "a")["kept"] == []
    created.git("add", "--force", ".env")
    created.commit("Track it")
    created.json("worktree.create", "b", "--no-db")
    assert created.json("worktree.remove", "b")["kept"] == []
    created.json("worktree.create", "c", "--no-db")
    with (created.worktree("c") / ".env").open("a") as env:
        env.write("ONLY_HERE=1\n")
    assert [file["name"] for file in created.json("worktree.remove", "c")["kept"]] == [".env"]
    created.json("worktree.undo", "c")
    assert created.env("c")["ONLY_HERE"] == "1"
    assert created.git("ls-files", "-v", ".env", cwd=created.worktree("c")) == "S .env"


def test_kept_files_go_when_the_removal_expires(created):
    """Gc deletes them with the record."""
    put(created.there, {"dev.sqlite3": "rows\n"})
    created.json("worktree.remove", "a")
    created.json("worktree.gc", "--yes", env={"WORKTREE_KEEP_REMOVED": "0"})
    assert list((created.path / ".git/goldentree/removed").iterdir()) == []


def test_undo_overwrites_nothing(created):
    """After a teardown the worktree may have gone on: its newer file stays, and the kept one, too."""
    put(created.there, {"dev.sqlite3": "rows\n", "data/x": "1\n"})
    created.json("worktree.teardown", cwd=created.there)
    outside = created.path.parent / "outside"
    outside.mkdir()
    shutil.rmtree(created.there / "data")
    (created.there / "data").symlink_to(outside)
    assert "is outside of the worktree" in created.inv("worktree.undo", "a").stderr
    assert list(outside.iterdir()) == []
    (created.there / "data").unlink()
    put(created.there, {"dev.sqlite3": "newer\n"})
    assert "exists already with other content" in created.inv("worktree.undo", "a").stderr
    assert (created.there / "dev.sqlite3").read_text() == "newer\n"
    (created.there / "dev.sqlite3").unlink()
    created.json("worktree.undo", "a")
    assert (created.there / "dev.sqlite3").read_text() == "rows\n"


@pytest.mark.parametrize("command", ["worktree.remove", "worktree.undo"])
def test_killed_command_keeps_the_files(created, command):
    """Killed at its worst moments, it is finished without loss."""
    put(created.there, {"dev.sqlite3": "rows\n", "data/x": "1\n"})
    if command == "worktree.undo":
        created.json("worktree.remove", "a")
    function, number = "tasks_lib.worktrees.copy_tree:copy", 1
    while created.dies("after", number, function, command, "a"):
        number += 1
    assert number == (3 if command == "worktree.remove" else 2), "an undo goes on where it was"
    if command == "worktree.remove":
        created.json("worktree.undo", "a")
    assert (created.there / "dev.sqlite3").read_text() == "rows\n"
    assert (created.there / "data/x").read_text() == "1\n"
    assert list((created.path / ".git/goldentree/removed").iterdir()) == []
