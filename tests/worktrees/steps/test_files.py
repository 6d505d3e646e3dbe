"""The files that a worktree is given: what `.worktreeinclude` means, and how folders are copied."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import venv
from pathlib import Path

import pytest

from tasks_lib.worktrees import copy_tree


def test_worktreeinclude_copies_what_git_ignores(repository):
    """What it matches and git ignores is copied, folders whole; env files and worktrees are not."""
    main = repository.path
    (main / ".gitignore").write_text("*.log\n.env*\nnode_modules/\n.claude/\n.worktrees/\n.conductor/\ntarget/\n")
    (main / ".worktreeinclude").write_text(
        "# what builds need\n.env*\n!.env.production\nnode_modules\n.claude/settings.local.json\n"
        "untracked.txt\n.worktrees\n.conductor\n"
    )
    for name in (
        ".env.production", ".env.test", "node_modules/x/index.js", "node_modules/x/.env", ".claude/other",
        ".claude/settings.local.json", "apps/web/.env.test", "untracked.txt", "app.log", ".conductor/notes",
        "vendored/node_modules/y/.env", "target/package/.env.example", "target/built",
    ):  # fmt: skip
        (main / name).parent.mkdir(parents=True, exist_ok=True)
        (main / name).write_text(name)
    (main / "node_modules" / "x" / "run").symlink_to("index.js")
    (main / "node_modules" / "x" / "index.js").chmod(0o755)
    repository.git("add", ".gitignore", ".worktreeinclude")
    repository.git("commit", "--quiet", "--message", "Include")
    repository.git("worktree", "add", "--quiet", main / ".worktrees" / "nested", "-b", "nested")
    result = repository.inv("worktree.create", "a", "--no-db")
    assert result.returncode == 0, result.stderr
    there = repository.worktree("a")
    tracked = set(repository.git("ls-files", cwd=there).splitlines())
    given = {str(path.relative_to(there)) for path in there.rglob("*") if not path.is_dir()} - tracked - {".git"}
    assert given == {
        ".env",
        ".env.test",
        ".claude/settings.local.json",
        "apps/web/.env.test",
        "node_modules/x/index.js",
        "node_modules/x/.env",
        "node_modules/x/run",
        "vendored/node_modules/y/.env",
    }
    assert (there / "node_modules" / "x" / "run").readlink().name == "index.js"
    assert stat.S_IMODE((there / "node_modules" / "x" / "index.js").stat().st_mode) == 0o755
    assert repository.env("a")["WORKTREE_BRANCH"] == "a"

    # What is there stays; what is not comes back.
    (there / ".env.test").write_text("mine")
    (there / "apps" / "web" / ".env.test").unlink()
    said = repository.inv("worktree.setup", cwd=there).stderr
    assert "copy and link files of the main worktree · apps/web/.env.test (" in said
    assert (there / ".env.test").read_text() == "mine"


def test_nothing_is_written_through_a_link(repository, tmp_path):
    """A branch whose folder is a link to elsewhere gets nothing written there."""
    (tmp_path / "elsewhere").mkdir()
    repository.git("switch", "--quiet", "--create", "a")
    (repository.path / "conf").symlink_to(tmp_path / "elsewhere")
    repository.commit("Link")
    repository.git("switch", "--quiet", "main")
    (repository.path / "invoke.yaml").write_text("worktree:\n  write:\n    conf/deep/x: '{slug}'\n")
    said = repository.refuses("worktree.create", "a")
    assert f"{repository.worktree('a')}/conf is a link to {tmp_path}/elsewhere" in said
    assert not list((tmp_path / "elsewhere").iterdir())


class TestCopy:
    @pytest.fixture
    def folder(self, tmp_path):
        source = tmp_path / "source"
        (source / "deep").mkdir(parents=True)
        (source / "deep" / "file").write_text("content")
        os.utime(source / "deep" / "file", (1, 1))
        return source

    def test_a_folder_is_copied_whole(self, folder, tmp_path):
        """Content, permissions and times; no pipe, and no worktree within it."""
        os.mkfifo(folder / "pipe")
        (folder / "linked").mkdir()
        (folder / "linked" / ".git").write_text("gitdir: elsewhere")
        # A partial copy that a killed run left is removed.
        (tmp_path / ".target.goldentree" / "half").mkdir(parents=True)
        assert copy_tree.copy(folder, tmp_path / "target", lambda _: None)
        assert (tmp_path / "target" / "deep" / "file").stat().st_mtime == 1
        names = [path.name for path in sorted((tmp_path / "target").rglob("*"))]
        assert names == ["deep", "file"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]

    def test_files_that_vanish_are_skipped(self, folder, tmp_path, monkeypatch):
        """It is passed over; all of it gone is said."""
        for number in range(20):
            (folder / "deep" / str(number)).write_text("x")
        original = copy_tree._copy_file

        def after_which_one_is_gone(source, target):
            original(source, target)
            next(iter((folder / "deep").iterdir())).unlink()

        monkeypatch.setattr(copy_tree, "_copy_file", after_which_one_is_gone)
        assert copy_tree.copy(folder, tmp_path / "target", lambda _: None)
        assert list((tmp_path / "target" / "deep").iterdir())
        assert copy_tree.copy(tmp_path / "gone", tmp_path / "other", lambda _: None) is False

    def test_an_interrupted_copy_leaves_nothing(self, folder, tmp_path, monkeypatch):
        """Ctrl-C leaves nothing that a later run would take for complete."""

        def interrupted(source, target):
            raise KeyboardInterrupt

        monkeypatch.setattr(copy_tree, "_copy_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy_tree.copy(folder, tmp_path / "target", lambda _: None)
        assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_python_environments_are_left_out(repository):
    """Their scripts run main's interpreter, and editable packages are main's code. The cure follows the lock file."""
    main = repository.path
    (main / ".gitignore").write_text(".env*\n.venv/\ncaches/\nlinked/\nplain/\n")
    (main / ".worktreeinclude").write_text(".venv\ncaches\n")
    (main / "uv.lock").touch()
    repository.commit("Include")
    for name in (".venv", "caches/tox", "linked", "plain"):
        venv.create(main / name)
    (main / "caches" / "other").touch()
    packages = next((main / "linked").glob("lib/python*/site-packages"))
    (packages / "_editable_impl_app.pth").write_text(str(main / "src"))
    after = 'after_setup: "echo ${VIRTUAL_ENV-none} > active"'
    (main / "invoke.yaml").write_text(f"worktree: {{link: [linked, plain], {after}}}")

    # Installers would write the worktree's code into an activated environment of main.
    said = repository.inv("worktree.create", "a", "--no-db", env={"VIRTUAL_ENV": str(main / ".venv")}).stderr

    assert (repository.worktree("a") / "active").read_text() == "none\n"
    there = repository.worktree("a")
    assert [name for name in (".venv", "caches", "linked", "plain") if (there / name).exists()] == ["caches", "plain"]
    assert [path.name for path in (there / "caches").iterdir()] == ["other"]
    assert ".venv is left out: it is a Python environment" in said
    assert 'in invoke.yaml: worktree: {after_setup: ["uv sync"]}' in said
    assert f"{main}/caches/tox is a Python environment, which works only there, and is left out" in said


class TestCargo:
    @pytest.fixture
    def crate(self, repository, monkeypatch):
        """Make the repository a crate that is built in the main worktree, and whose target directory is copied."""
        # The tests' HOME has no toolchain of rustup.
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        monkeypatch.setenv("RUSTUP_HOME", os.environ.get("RUSTUP_HOME", str(home / ".rustup")))
        if not shutil.which("cargo") or subprocess.run(["cargo", "--version"], check=False).returncode:
            pytest.skip("needs cargo")
        main = repository.path
        (main / "Cargo.toml").write_text('[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n')
        (main / "src").mkdir()
        (main / "src" / "main.rs").write_text('mod part;\nfn main() { print!("{}", part::WORD); }\n')
        (main / "src" / "part.rs").write_text('pub const WORD: &str = "main";\n')
        (main / ".gitignore").write_text(".env*\ntarget\n")
        (main / ".worktreeinclude").write_text("target\n")
        build(main)
        repository.commit("Add the crate")
        build(main)
        return repository

    def test_unchanged_crate_is_not_compiled_again(self, crate):
        """Cargo takes the copied build for current, and git finds nothing changed."""
        assert crate.inv("worktree.create", "a", "--no-db").returncode == 0
        there = crate.worktree("a")
        assert crate.git("diff-files", "--name-only", cwd=there) == ""
        assert "Compiling" not in build(there)

    def test_changed_file_is_compiled(self, crate):
        """A file that the branch has changed, and one with an uncommitted change in the main worktree, are compiled."""
        crate.git("switch", "--quiet", "--create", "a")
        (crate.path / "src" / "part.rs").write_text('pub const WORD: &str = "mine";\n')
        crate.commit("Change a word")
        crate.git("switch", "--quiet", "main")
        (crate.path / "src" / "part.rs").write_text('pub const WORD: &str = "edit";\n')
        build(crate.path)
        for branch, word in (("a", "mine"), ("b", "main")):
            assert crate.inv("worktree.create", branch, "--no-db").returncode == 0
            assert build(crate.worktree(branch)).endswith(word)

    def test_times_stay_with_a_shared_target_directory(self, crate):
        """Where cargo builds elsewhere, equal times would make it run another branch's program."""
        assert crate.inv("worktree.create", "a", "--no-db", env={"CARGO_TARGET_DIR": "/shared"}).returncode == 0
        assert "Compiling" in build(crate.worktree("a"))


def build(worktree):
    """Build and run the crate, and return what cargo and the program print."""
    ran = subprocess.run(
        ["cargo", "run", "--offline"], cwd=worktree, check=True, text=True, stdout=-1, stderr=subprocess.STDOUT
    )
    return ran.stdout
