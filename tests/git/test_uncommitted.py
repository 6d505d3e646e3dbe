"""Saving uncommitted work: everything that git would not have in a commit comes back as it was."""

from __future__ import annotations

import os
import subprocess

import pytest

from tasks_lib.errors import GitError
from tasks_lib.git import uncommitted
from tasks_lib.git.repository import Repository

REFERENCE = "refs/goldentree/removed/a"


@pytest.fixture
def there(tmp_path):
    """Give a linked worktree on branch `a` with some files; hooks that would fail, signing that would, too."""
    main, there = tmp_path / "app", tmp_path / "app-a"
    main.mkdir()
    run(main, "init", "--quiet")
    for name in ("changed", "staged", "both", "deleted", "unstaged", "tool", "replaced", ".env"):
        (main / name).write_text(f"{name}\n")
    (main / ".gitignore").write_text("ignored\n")
    run(main, "add", "--all")
    run(main, "commit", "--quiet", "--message", "Start")
    run(main, "worktree", "add", "--quiet", "-b", "a", there)
    for hook in ("pre-commit", "post-index-change", "reference-transaction", "post-checkout"):
        (main / ".git" / "hooks" / hook).write_text("#!/bin/sh\necho ran >> hooks-ran\nexit 1\n")
        (main / ".git" / "hooks" / hook).chmod(0o755)
    run(main, "config", "--unset", "--global", "user.name")
    run(main, "config", "--unset", "--global", "user.email")
    for setting in ("user.useConfigOnly=true", "commit.gpgSign=true", "gpg.program=false", "core.safecrlf=true"):
        run(main, "config", *setting.split("="))
    return there


ADA = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgSign=false")


def run(cwd, *arguments):
    quiet = ["git", "-c", "core.hooksPath=/dev/null", *map(str, arguments)]
    return subprocess.run(quiet, cwd=cwd, check=True, capture_output=True, text=True).stdout


def again(there):
    """Remove the worktree by force, check its branch out again, and return the repository."""
    main = there.with_name("app")
    run(main, "worktree", "remove", "--force", there)
    run(main, "worktree", "add", "--quiet", there, "a")
    return Repository.find(main)


def seen(there):
    """Return what a user sees of the worktree: status, differences, and its files with kinds and bits."""
    files = [path for path in sorted(there.rglob("*")) if path.name not in (".git", "ignored", ".env")]
    return {
        "status": run(there, "status", "--porcelain", "--untracked-files=all"),
        "staged": run(there, "diff", "--cached"),
        "unstaged": run(there, "diff"),
        "files": {
            str(path.relative_to(there)): (
                path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes(),
                path.lstat().st_mode,
            )
            for path in files
        },
    }


def test_saved_work_is_restored_exactly(there):
    """Staged, unstaged, untracked and deleted files, bits, links and odd names come back; saving changes nothing."""
    (there / "changed").write_text("new\n")
    (there / "staged").write_text("new\n")
    (there / "both").write_text("first\n")
    run(there, "add", "staged", "both")
    (there / "both").write_text("second\r\n")
    run(there, "rm", "--quiet", "deleted")
    (there / "unstaged").unlink()
    run(there, "rm", "--quiet", "--cached", "replaced")
    (there / "replaced").write_text("untracked now\n")
    (there / "tool").chmod(0o755)
    (there / "link").symlink_to("nowhere")
    (there / "deep").mkdir()
    (there / "deep" / "two\nlines\r and é").write_bytes(b"\0\xff")
    (there / "new").write_text("new\n")
    run(there, "add", "new")
    (there / "ignored").write_text("s3cret")
    run(there, "update-index", "--skip-worktree", ".env")
    (there / ".env").write_text("DATABASE_URL=postgresql://ada:s3cret@localhost/a\n")
    index = there.with_name("app") / ".git" / "worktrees" / "app-a" / "index"
    before, bytes_before = seen(there), index.read_bytes()

    commit = uncommitted.save(there, REFERENCE, message="Removed a")
    assert index.read_bytes() == bytes_before
    assert seen(there) == before
    assert run(there, "rev-parse", REFERENCE).strip() == commit
    assert "s3cret" not in run(there, "log", "--patch", "--text", REFERENCE)
    assert run(there, "log", "-1", "--format=%s, by %an", REFERENCE) == "Removed a, by goldentree\n"

    repository = again(there)
    assert not uncommitted.is_restored(there, commit)
    uncommitted.restore(there, commit)
    assert uncommitted.is_restored(there, commit)
    assert seen(there) == before
    assert not (there / "hooks-ran").exists()
    uncommitted.delete(repository, REFERENCE)
    assert run(there, "for-each-ref", "refs/goldentree") == ""


def test_sparse_checkout_saves_no_deletions(there):
    """In a sparse checkout nothing outside it is taken for deleted, and the env file stays out of the commit."""
    run(there, "sparse-checkout", "set", "--no-cone", "/changed", "/.env")
    run(there, "update-index", "--skip-worktree", ".env")
    (there / ".env").write_text("s3cret\n")
    (there / "untracked").write_text("new\n")
    commit = uncommitted.save(there, REFERENCE, message="Removed a")
    assert run(there, "diff", "--name-status", "HEAD", commit) == "A\tuntracked\n"


def test_clean_worktree_saves_its_head(there):
    """A clean worktree needs no commit: HEAD holds everything."""
    head = run(there, "rev-parse", "HEAD").strip()
    assert uncommitted.save(there, REFERENCE, message="Removed a") == head
    uncommitted.restore(there, head)
    assert uncommitted.is_restored(there, head)


def test_saving_again_replaces_the_first_commit(there):
    """A removal that was killed saves again, including later changes."""
    first = uncommitted.save(there, REFERENCE, message="Removed a")
    (there / "changed").write_text("new\n")
    second = uncommitted.save(there, REFERENCE, message="Removed again")
    assert second == run(there, "rev-parse", REFERENCE).strip() != first


def test_saving_without_a_commit_is_refused(there):
    """A branch that has no commit yet has no HEAD to save."""
    run(there, "symbolic-ref", "HEAD", "refs/heads/b")
    with pytest.raises(GitError, match="no commit yet"):
        uncommitted.save(there, REFERENCE, message="Removed again")


def test_conflict_is_saved_with_markers(there):
    """The files of a conflict are saved with their markers; restored, they are no longer marked as a conflict."""
    (there / "changed").write_text("ours\n")
    run(there, *ADA, "commit", "--quiet", "--all", "--message", "Ours")
    run(there, *ADA, "switch", "--quiet", "--create", "b", "HEAD~1")
    (there / "changed").write_text("theirs\n")
    run(there, *ADA, "commit", "--quiet", "--all", "--message", "Theirs")
    run(there, *ADA, "switch", "--quiet", "a")
    with pytest.raises(subprocess.CalledProcessError):
        run(there, *ADA, "merge", "b")
    text = (there / "changed").read_text()
    assert "<<<<<<<" in text
    commit = uncommitted.save(there, REFERENCE, message="Removed a")
    again(there)
    uncommitted.restore(there, commit)
    assert (there / "changed").read_text() == text
    assert run(there, "status", "--porcelain") == " M changed\n"


def test_changed_within_the_tick(there):
    """A change that only its content tells, made as the index was written, is saved like any other."""
    index = there.with_name("app") / ".git" / "worktrees" / "app-a" / "index"
    run(there, "config", "core.trustctime", "false")
    tick = (1_700_000_000, 1_700_000_000)
    os.utime(there / "changed", tick)
    run(there, "update-index", "--refresh")
    (there / "changed").write_text("CHANGED\n")
    os.utime(there / "changed", tick)
    os.utime(index, tick)
    commit = uncommitted.save(there, REFERENCE, message="Removed a")
    assert run(there, "show", f"{commit}:changed") == "CHANGED\n"


def test_restored_work_counts_as_restored(there):
    """Work that is back stays back when files are added to it; an index that is not, or an edit, counts."""
    (there / "changed").write_text("new\n")
    (there / "deleted").unlink()
    run(there, "add", "changed")
    (there / "new").write_text("new\n")
    commit = uncommitted.save(there, REFERENCE, message="Removed a")
    (there / "given").write_text("seed\n")
    assert uncommitted.is_restored(there, commit)
    run(there, "reset", "--quiet")
    assert not uncommitted.is_restored(there, commit)
    run(there, "add", "changed")
    (there / "deleted").write_text("deleted\n")
    assert not uncommitted.is_restored(there, commit)


def test_restore_overwrites_no_existing_file(there):
    """A file that is in the way stops the restore and keeps its content."""
    (there / "new").write_text("precious\n")
    commit = uncommitted.save(there, REFERENCE, message="Removed a")
    with pytest.raises(GitError):
        uncommitted.restore(there, commit)
    assert (there / "new").read_text() == "precious\n"


def test_restore_refuses_another_head(there):
    """Work is restored only at the commit on which it was saved."""
    (there / "new").write_text("precious\n")
    commit = uncommitted.save(there, REFERENCE, message="Removed a")
    (there / "new").unlink()
    run(there, "switch", "--quiet", "--detach", run(there, *ADA, "commit-tree", "-m", "Other", "HEAD^{tree}").strip())
    with pytest.raises(GitError, match="not at the commit"):
        uncommitted.restore(there, commit)
