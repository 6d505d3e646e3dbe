"""Everything that a worktree leaves behind is listed in docs/reference/files.md."""

from __future__ import annotations

from fnmatch import fnmatchcase

from dev.footprint import CREATED


def files(repository):
    """Return the files in and beside the repository, named as in the patterns of `dev/footprint.py`."""
    common, main, beside = repository.path / ".git", repository.path, repository.path.parent
    found = set()
    for path in beside.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            continue
        name, root = next((name, root) for name, root in (("{common}", common), ("{main}", main), ("{beside}", beside))
                          if path.is_relative_to(root))  # fmt: skip
        inside = path.relative_to(root).as_posix()
        if name == "{beside}" and not inside.startswith("."):
            name, inside = "{worktree}", inside.partition("/")[2]
        found.add(f"{name}/{inside}")
    return found


def test_worktree_leaves_only_documented_files(repository):
    """Create, set up, tear down, remove and undo a worktree: every file and database matches a pattern."""
    patterns = [pattern for created in CREATED for pattern in created.patterns]
    before = files(repository)
    databases = {name for (name,) in repository.sql("SELECT datname FROM pg_database")}
    repository.json("worktree.create", "a")
    repository.git("worktree", "add", "--quiet", repository.worktree("b"), "-b", "b")
    repository.json("worktree.setup", cwd=repository.worktree("b"))
    made = files(repository)
    (repository.worktree("a") / "note").write_text("uncommitted")
    repository.json("worktree.remove", "a", "--force")
    repository.json("worktree.teardown", cwd=repository.worktree("b"))
    made |= files(repository)
    repository.json("worktree.undo", "a")
    made |= files(repository)
    strange = [name for name in made - before if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    assert strange == []
    names = {
        f"{{server}}/{name}" for (name,) in repository.sql("SELECT datname FROM pg_database") if name not in databases
    }
    own = f"{{server}}/{repository.prefix}_*"
    assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in [own, *patterns])] == []
