"""`worktree.create`: what it refuses before any change, what it undoes, and what a killed run leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha1
from itertools import count
from pathlib import Path

import psycopg
import pytest


@contextmanager
def running(repository, *arguments, until, env=None):
    """Run `inv` in its own session, wait until *until* is true, and end the session afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=repository.path,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(until, process)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


class TestBranchNames:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("--branch=-x", "starts with a dash"),
            ("..", "not a branch name that git accepts"),
            ("a b", "not a branch name that git accepts"),
            ("@{", "not a branch name that git accepts"),
            ("a@{b", "not a branch name that git accepts"),
            ("a\nb", "not a branch name that git accepts"),
            ("x.lock", "not a branch name that git accepts"),
            ("@", "current commit"),
            ("HEAD", "current commit"),
            ("x" * 300, "longer than 200 bytes"),
            ("feat/\N{ROCKET}", "ROCKET"),
            ("it's", 'contains "\'"'),
            ("", "no branch was named"),
        ],
    )
    def test_mangled_branch_names_are_refused(self, repository, name, said):
        """Names that git, Postgres, a file system or an env file would mangle are refused."""
        assert said in repository.refuses("worktree.create", name)
        assert not list(repository.path.glob(".git/goldentree/worktrees/*.json"))

    def test_branch_with_a_leading_dash_is_refused(self, repository):
        """Invoke reads `-x` as an option that it does not know."""
        before = repository.world()
        result = repository.inv("worktree.create", "-x")
        assert result.returncode == 1
        assert "-x" in result.stderr
        assert repository.world() == before

    @pytest.mark.parametrize(("there", "wanted"), [("feat", "feat/a"), ("feat/a", "feat"), ("feat/a", "feat/a/b")])
    def test_branch_within_a_branch_is_refused(self, repository, there, wanted):
        """`feat` and `feat/a` cannot both exist; the error names the one in the way."""
        repository.git("branch", there)
        assert f"`{wanted}` cannot exist beside branch `{there}`" in repository.refuses("worktree.create", wanted)

    def test_usual_branch_names_are_accepted(self, repository):
        """Letters of all scripts, digits and ASCII punctuation are fine, including `#` and `$`."""
        for branch in ("größe/日本", "fix-#12_$x&y|z"):
            created = repository.json("worktree.create", branch)
            assert created["slug"].isascii()
            assert repository.env(branch)["WORKTREE_BRANCH"] == branch
            assert repository.json("worktree.path", branch)["path"] == str(repository.worktree(branch))

    def test_second_branch_with_equal_hash_is_refused(self, repository):
        """Two branches whose names derive to the same slug do not share a record."""
        seen = {}
        for number in count():
            digest = sha1(f"{number}/x".encode()).hexdigest()[:6]
            if digest in seen:
                break
            seen[digest] = number
        assert repository.dies("after", 1, "tasks_lib.plan:Plan._run_step", "worktree.create", f"{seen[digest]}/x")
        for _ in "unfinished", "ready":
            said = repository.refuses("worktree.create", f"{number}/x")
            assert f"created for branch `{seen[digest]}/x`" in said
            repository.inv("worktree.create", f"{seen[digest]}/x")


class TestRefusals:
    def test_checked_out_branch_is_refused(self, repository):
        """The main worktree's branch, and one that already has a worktree."""
        assert f"checked out at {repository.path} already" in repository.refuses("worktree.create", "main")
        repository.json("worktree.create", "a")
        assert f"checked out at {repository.worktree('a')} already" in repository.refuses("worktree.create", "a")

    @pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
    def test_existing_path_is_refused(self, repository, make):
        """Directory, file or dangling link: nothing is overwritten."""
        make(repository.worktree("a"))
        assert "exists already" in repository.refuses("worktree.create", "a")

    def test_path_that_is_too_long_is_refused(self, repository):
        """A path that the file system would reject is refused before any change."""
        assert "File name too long" in repository.refuses("worktree.create", "a", "--path", f"../{'x' * 256}")

    def test_outside_a_repository_is_refused(self, repository, tmp_path):
        """The hint says how to create one."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "tasks.py").write_text("from tasks_lib import ns\n")
        assert "is not in a git repository" in repository.refuses("worktree.create", "a", cwd=outside)

    def test_bare_repository_is_refused(self, repository, tmp_path):
        """It has no main worktree to copy from."""
        repository.git("clone", "--quiet", "--bare", repository.path, tmp_path / "bare.git")
        (tmp_path / "bare.git" / "tasks.py").write_text("from tasks_lib import ns\n")
        assert "is a bare repository" in repository.refuses("worktree.create", "a", cwd=tmp_path / "bare.git")

    def test_submodule_is_not_taken_for_a_worktree(self, repository, tmp_path):
        """Git does not report the main worktree of a submodule."""
        repository.git("init", "--quiet", tmp_path / "super")
        allowed = ("-c", "protocol.file.allow=always")
        repository.git(*allowed, "submodule", "--quiet", "add", repository.path, "sub", cwd=tmp_path / "super")
        for task in (["worktree.create", "a"], ["worktree.db"]):
            assert "cannot be found" in repository.refuses(*task, cwd=tmp_path / "super" / "sub")

    def test_repository_without_commits_is_refused(self, repository, tmp_path):
        """A worktree needs a commit to start from."""
        repository.git("init", "--quiet", tmp_path / "empty")
        (tmp_path / "empty" / "tasks.py").write_text("from tasks_lib import ns\n")
        assert "has no commit yet" in repository.refuses("worktree.create", "a", cwd=tmp_path / "empty")

    def test_foreign_database_is_refused(self, repository):
        """A database that has the clone's name may hold data."""
        name = f"{repository.prefix}_a_86f7e4"
        repository.sql(f'CREATE DATABASE "{name}"')
        assert f"database `{name}` is not ours" in repository.refuses("worktree.create", "a")

    def test_missing_golden_lists_databases(self, repository):
        """The error lists the databases that exist, and no other database is cloned instead."""
        said = repository.refuses("worktree.create", "a", env={"WORKTREE_TEMPLATE_DB": "nowhere_latest"})
        assert "golden template `nowhere_latest` does not exist" in said
        assert "WORKTREE_TEMPLATE_DB" in said

    def test_unreachable_server_is_named(self, repository):
        """The error shows the URL without its password."""
        change_env(repository, "postgresql://ada:s3cret@127.0.0.1:1/x")
        said = repository.refuses("worktree.create", "a")
        assert "no PostgreSQL server answers at postgresql://ada:***@127.0.0.1:1/x" in said
        assert "s3cret" not in said

    def test_wrong_password_is_not_shown(self, repository):
        """The error does not contain the password."""
        user, _, rest = repository.url.partition("://")[2].partition(":")
        change_env(repository, f"postgresql://{user}:s3cret@{rest.partition('@')[2]}")
        said = repository.refuses("worktree.create", "a")
        assert "the server rejects the login" in said
        assert "s3cret" not in said

    def test_missing_right_to_create_databases(self, repository):
        """The hint is the statement that grants it."""
        repository.sql(f"CREATE ROLE {repository.prefix} LOGIN PASSWORD 'x'")
        change_env(repository, f"postgresql://{repository.prefix}:x@{repository.url.partition('@')[2]}")
        said = repository.refuses("worktree.create", "a")
        assert f'ALTER ROLE "{repository.prefix}" CREATEDB' in said

    @pytest.mark.parametrize(
        "url",
        ["postgresql://u:s3cret@ep-x-pooler.eu.neon.tech/db", "postgresql://u:s3cret@127.0.0.1:1/db?pgbouncer=true"],
    )
    def test_pooled_url_is_refused(self, repository, url):
        """Databases cannot be created through a pooler."""
        change_env(repository, url)
        said = repository.refuses("worktree.create", "a")
        assert "connection pooler" in said
        assert "s3cret" not in said

    def test_conflicting_exported_url_is_refused(self, repository):
        """An exported variable would override every env file."""
        url = "postgresql://u:s3cret@127.0.0.1:1/other"
        said = repository.refuses("worktree.create", "a", env={"DATABASE_URL": url})
        assert "DATABASE_URL is exported in this shell as postgresql://u:***@127.0.0.1:1/other" in said
        assert "unset DATABASE_URL" in said
        assert "s3cret" not in said

    def test_matching_exported_url_is_accepted(self, repository):
        """Direnv and similar tools export what the env file says."""
        assert repository.json("worktree.create", "a", env={"DATABASE_URL": repository.url})

    def test_unknown_base_is_refused(self, repository):
        """A base must be a commit, and is only for new branches."""
        assert "base `nowhere` is not a commit" in repository.refuses("worktree.create", "a", "--base", "nowhere")
        repository.git("branch", "b")
        assert "branch `b` exists already" in repository.refuses("worktree.create", "b", "--base", "main")

    def test_unwritable_registry_is_an_error(self, repository):
        """An unwritable directory is not a traceback."""
        (repository.path / ".git" / "goldentree").write_text("")
        assert "cannot be written" in repository.refuses("worktree.create", "a")


class TestEnvFiles:
    def test_env_file_keeps_every_other_byte(self, repository):
        """CRLF, a byte order mark, `export`, duplicates and multi-line values are kept."""
        text = (
            f"\ufeffA=1\r\nexport DATABASE_URL='{repository.url}' # mine\r\nKEY='one\r\ntwo'\r\n\r\n"
            f"PORT=one\r\nPORT=two\r\nWORKTREE_TEMPLATE_DB=loquent_latest\r\nWORKTREE_DB_PREFIX={repository.prefix}\r\n"
        )
        (repository.path / ".env").write_bytes(text.encode())
        created = repository.json("worktree.create", "a")
        after = (repository.worktree("a") / ".env").read_bytes().decode()
        assert repository.url not in after
        kept = text.replace(repository.url, repository.env("a")["DATABASE_URL"])
        kept = kept.replace("PORT=one", f"PORT={created['port']}").replace("PORT=two", f"PORT={created['port']}")
        assert after.startswith(kept)
        assert "\n" not in after.replace("\r\n", "")

    def test_unparsable_env_line_is_named(self, repository):
        """An open quote would swallow the lines after it."""
        with (repository.path / ".env").open("a") as file:
            file.write("OK=1\nBROKEN='open\n")
        assert f"`{repository.path}/.env:7` is not a line" in repository.refuses("worktree.create", "a")

    def test_env_file_that_is_not_utf8_is_refused(self, repository):
        """An edit would lose the other bytes."""
        (repository.path / ".env").write_bytes(b"A=\xff\n")
        assert "not UTF-8" in repository.refuses("worktree.create", "a")

    def test_linked_main_env_file_is_copied(self, repository, tmp_path):
        """The main env file may be a link; the worktree gets a file."""
        real = tmp_path / "secrets.env"
        (repository.path / ".env").rename(real)
        (repository.path / ".env").symlink_to(real)
        before = real.read_bytes()
        repository.json("worktree.create", "a")
        assert not (repository.worktree("a") / ".env").is_symlink()
        assert real.read_bytes() == before

    def test_env_file_that_git_tracks_as_a_link_is_refused_before_the_checkout(self, repository):
        """On a new branch and on an existing one. If a hook makes the link, the creation is undone."""
        (repository.path / ".env").rename(repository.path / ".env.development")
        (repository.path / ".env").symlink_to(".env.development")
        repository.git("branch", "old")
        repository.git("add", "--force", ".env")
        repository.commit("Link")
        repository.git("branch", "linked")
        assert "is a symbolic link in commit" in repository.refuses("worktree.create", "a", "--no-db")
        assert "git rm --cached .env" in repository.refuses("worktree.create", "linked", "--no-db")
        repository.git("checkout", "--quiet", "old")
        (repository.path / ".env").symlink_to(".env.development")
        hook = repository.path / ".git/hooks/post-checkout"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nln -s elsewhere .env\n")
        hook.chmod(0o755)
        said = repository.refuses("worktree.create", "b", "--base", "old", "--no-db")
        assert "is a symbolic link" in said
        assert "could not undo" not in said

    def test_link_to_the_main_env_file_is_replaced(self, repository):
        """`worktree.db` does not write through a link into the main worktree's env file."""
        repository.git("worktree", "add", "--quiet", repository.worktree("a"), "-b", "a")
        (repository.worktree("a") / ".env").symlink_to(repository.path / ".env")
        assert "is a symbolic link" in repository.refuses("worktree.db", cwd=repository.worktree("a"))

    def test_unignored_env_file_is_excluded(self, repository):
        """An env file that git does not ignore is excluded, once, so that it does not count as uncommitted work."""
        (repository.path / ".gitignore").write_text("seed.env\n")
        repository.git("commit", "--quiet", "--all", "--message", "Ignore less")
        for branch in ("a", "b"):
            repository.json("worktree.create", branch)
            assert repository.git("status", "--porcelain", cwd=repository.worktree(branch)) == ""
            repository.json("worktree.remove", branch)
        exclude = repository.path / ".git/info/exclude"
        assert exclude.read_text().count("/.env\n") == 1
        exclude.unlink()
        exclude.symlink_to("nowhere/exclude")
        assert f"`{exclude}` cannot be written" in repository.refuses("worktree.create", "a")

    @pytest.mark.parametrize(("root", "listed"), [(".worktrees", "/.worktrees/"), ("docs", "/docs/app-a/")])
    def test_worktree_inside_the_repository_is_excluded(self, repository, root, listed):
        """`git add --all` does not add it, and other files beside it stay visible."""
        (repository.path / "docs").mkdir()
        (repository.path / "docs/page.md").touch()
        (repository.path / "invoke.yaml").write_text(f"worktree: {{root: {root}}}\n")
        repository.commit("Root")
        repository.json("worktree.create", "a")
        assert repository.git("status", "--porcelain") == ""
        assert listed in (repository.path / ".git/info/exclude").read_text().splitlines()

    def test_tracked_env_file_is_not_committed(self, repository):
        """Commits in the worktree do not contain the clone's URL, and the file counts as clean."""
        repository.git("add", "--force", ".env")
        repository.commit("Track the env file")
        repository.json("worktree.create", "a")
        there = repository.worktree("a")
        assert repository.env("a")["WORKTREE_BRANCH"] == "a"
        repository.git("commit", "--all", "--allow-empty", "--quiet", "--message", "x", cwd=there)
        assert repository.git("show", "HEAD:.env", cwd=there) == (repository.path / ".env").read_text().strip()
        repository.git("reset", "--quiet", "--hard", "main", cwd=there)
        repository.json("worktree.remove", "a")

    def test_missing_env_file_is_written(self, repository):
        """The new file has the worktree's own keys and is readable by its owner alone."""
        team = f"db:\n  template: loquent_latest\n  prefix: {repository.prefix}\n"
        (repository.path / "invoke.yaml").write_text(team)
        (repository.path / ".env").unlink()
        repository.json("worktree.create", "a", env={"DATABASE_URL": repository.url})
        assert repository.env("a").keys() == {
            "DATABASE_URL",
            "PORT",
            "WORKTREE_BRANCH",
            "WORKTREE_SLUG",
            "WORKTREE_SUBDOMAIN",
        }
        assert (repository.worktree("a") / ".env").stat().st_mode & 0o077 == 0


class TestSurroundings:
    def test_create_from_a_subfolder(self, repository):
        """Everything is relative to the repository, but `--path` to the current directory."""
        folder = repository.path / "deep" / "er"
        folder.mkdir(parents=True)
        created = repository.json("worktree.create", "a", cwd=folder)
        assert created["path"] == str(repository.worktree("a"))
        created = repository.json("worktree.create", "b", "--path", "../b", cwd=folder)
        assert created["path"] == str(repository.path / "deep" / "b")

    def test_create_from_a_linked_worktree(self, repository):
        """The new one is beside the main worktree, from the default branch, with the main env file."""
        repository.json("worktree.create", "a")
        created = repository.json("worktree.create", "b", cwd=repository.worktree("a"))
        assert created["path"] == str(repository.worktree("b"))
        assert repository.env("b")["APP_HOST"] == "https://team.ngrok.app"

    def test_create_inside_a_git_hook(self, repository, tmp_path):
        """GIT_DIR, GIT_INDEX_FILE and GIT_WORK_TREE of another repository are ignored."""
        decoy = tmp_path / "decoy"
        repository.git("init", "--quiet", decoy)
        repository.git("commit", "--quiet", "--allow-empty", "--message", "Decoy", cwd=decoy)
        hook = {
            "GIT_DIR": str(decoy / ".git"),
            "GIT_INDEX_FILE": str(decoy / ".git" / "index"),
            "GIT_WORK_TREE": str(decoy),
            "GIT_PREFIX": "",
        }
        state = repository.git("for-each-ref", cwd=decoy)
        created = repository.json("worktree.create", "a", env=hook)
        assert created["path"] == str(repository.worktree("a"))
        assert repository.git("for-each-ref", cwd=decoy) == state
        assert not (decoy / ".git" / "goldentree").exists()

    def test_repository_path_with_special_characters(self, repository, tmp_path):
        """Spaces, quotes, `$`, `%2F` and `#` in the path work, including removal."""
        odd = tmp_path / 'it\'s "my" $HOME `%2F` & #1'
        odd.mkdir()
        repository.path = repository.path.rename(odd / "the app")
        repository.json("worktree.create", "feat/a")
        assert repository.env("feat/a")["WORKTREE_BRANCH"] == "feat/a"
        migrate = {"WORKTREE_MIGRATE": "pwd > where"}
        assert repository.inv("db.migrate", cwd=repository.worktree("feat/a"), env=migrate).returncode == 0
        assert (repository.worktree("feat/a") / "where").read_text().strip() == str(repository.worktree("feat/a"))
        repository.json("worktree.remove", "feat/a", "--force")
        assert repository.databases() == []


class TestWhatItStartsFrom:
    def test_new_branch_starts_at_the_default(self, repository):
        """Not at the branch that the main worktree is on."""
        repository.git("switch", "--quiet", "--create", "elsewhere")
        repository.commit("Elsewhere")
        repository.json("worktree.create", "a")
        assert repository.git("rev-parse", "a") == repository.git("rev-parse", "main")

    def test_base_may_be_any_commit(self, repository):
        """`--base` takes any commit."""
        repository.commit("Second")
        repository.json("worktree.create", "a", "--base", "HEAD~1")
        assert repository.git("rev-parse", "a") == repository.git("rev-parse", "main~1")

    def test_existing_branch_is_checked_out(self, repository):
        """It is checked out unchanged."""
        repository.git("branch", "a")
        repository.commit("Later")
        repository.json("worktree.create", "a")
        assert repository.git("rev-parse", "HEAD", cwd=repository.worktree("a")) == repository.git(
            "rev-parse", "main~1"
        )

    def test_branches_of_a_remote_are_tracked_even_at_the_same_time(self, repository, tmp_path):
        """Git does not wait for the lock of `.git/config`. Removal and undo keep what a branch tracks."""
        names = [f"b{number}" for number in range(8)]
        repository.git("clone", "--quiet", "--bare", repository.path, tmp_path / "up.git")
        repository.git("remote", "add", "upstream", tmp_path / "up.git")
        repository.git("push", "--quiet", "upstream", *[f"main:refs/heads/{name}" for name in names])
        with ThreadPoolExecutor(len(names)) as pool:
            done = list(pool.map(lambda name: repository.inv("worktree.create", name, "--no-db"), names))
        assert [result.returncode for result in done] == [0] * len(names), [result.stderr for result in done]
        upstream = ("for-each-ref", "--format=%(upstream:short)", "refs/heads/b*")
        assert repository.git(*upstream).split() == [f"upstream/{name}" for name in names]
        repository.git("pull", "--quiet", cwd=repository.worktree("b0"))
        repository.json("worktree.remove", "b0")
        repository.json("worktree.undo")
        assert "upstream/b0" in repository.git(*upstream)

    def test_undone_creation_leaves_no_tracking(self, repository, tmp_path):
        """The configuration is as before."""
        repository.git("clone", "--quiet", "--bare", repository.path, tmp_path / "up.git")
        repository.git("remote", "add", "upstream", tmp_path / "up.git")
        repository.git("push", "--quiet", "upstream", "main:a")
        before = (repository.path / ".git/config").read_text()
        repository.refuses("worktree.create", "a", env={"WORKTREE_MIGRATE": "false"})
        assert (repository.path / ".git/config").read_text() == before

    def test_work_merged_into_the_configured_base_may_be_removed(self, repository):
        """With `worktree.base: develop`, new branches start there and count as merged there."""
        repository.git("switch", "--quiet", "--create", "develop")
        repository.commit("Develop")
        env = {"WORKTREE_BASE": "develop"}
        said = repository.inv("worktree.create", "a", "--no-db", env=env).stderr
        assert f"a starts at develop ({repository.git('rev-parse', 'develop')[:12]})" in said
        repository.commit("Feature", cwd=repository.worktree("a"))
        repository.git("merge", "--quiet", "--no-ff", "--message", "Merge", "a")
        repository.json("worktree.remove", "a", env=env)
        assert "a" not in repository.git("branch", "--list", "a")


class TestRollback:
    @pytest.mark.parametrize("existed", [False, True])
    def test_failing_migration_undoes_everything(self, repository, existed):
        """
        Worktree, database and record are removed; a branch that existed before stays. The error has the output.

        What cannot be undone is not called undone: the command may have changed anything.
        """
        if existed:
            repository.git("branch", "a")
        script = repository.path / "fails.sh"
        script.write_text('echo "column \\"x\\" does not exist" >&2; exit 3\n')
        said = repository.refuses("worktree.create", "a", env={"WORKTREE_MIGRATE": f"sh {script}"})
        assert f"`sh {script}` exited with 3" in said
        assert 'column "x" does not exist' in said
        assert "↶ undone: clone loquent_latest into" in said
        assert "undone: migrate" not in said

    def test_failing_post_checkout_hook_undoes_everything(self, repository):
        """The worktree, which exists at that point, is removed as well."""
        hook = repository.path / ".git" / "hooks" / "post-checkout"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\necho no way >&2\nexit 1\n")
        hook.chmod(0o755)
        said = repository.refuses("worktree.create", "a")
        assert "no way" in said
        assert "the hook" in said
        # The last line of the hint creates it without hooks.
        command = said.splitlines()[-1].strip().replace("inv ", f"{sys.executable} -m invoke ")
        subprocess.run(command, shell=True, cwd=repository.path, check=True, capture_output=True)
        assert repository.worktree("a").is_dir()

    def test_new_branch_with_a_commit_is_kept(self, repository):
        """Undoing does not delete a branch that has commits."""
        migrate = "git commit --quiet --allow-empty --message Precious && exit 1"
        result = repository.inv("worktree.create", "a", env={"WORKTREE_MIGRATE": migrate})
        assert result.returncode == 1
        assert repository.git("log", "-1", "--format=%s", "a") == "Precious"
        assert repository.databases() == []
        assert repository.records() == {}

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_signal_during_a_migration_undoes_everything(self, repository, tmp_path, number):
        """Ctrl-C, SIGTERM and SIGHUP also end the migration's process."""
        pid = tmp_path / "pid"
        before = repository.world()
        migrate = {"WORKTREE_MIGRATE": f"echo $$ > {pid}.new && mv {pid}.new {pid} && exec sleep 60"}
        with running(repository, "worktree.create", "a", until=pid.exists, env=migrate) as process:
            os.killpg(process.pid, number)
            out, err = process.communicate(timeout=30)
        child = int(pid.read_text())
        pid.unlink()
        assert process.returncode == 1
        assert out == ""
        assert "error: interrupted\n  every change of this command was undone" in err
        assert "Traceback" not in err
        assert repository.world() == before
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signal_during_a_clone_undoes_everything(self, repository, golden, number):
        """A dump that waits for a lock in golden is cancelled and leaves nothing."""
        before = repository.world()
        with psycopg.connect(repository.url, dbname=golden) as holder:
            holder.execute("LOCK TABLE contact IN ACCESS EXCLUSIVE MODE")

            def blocked():
                waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"
                return bool(repository.sql(waiting)) and repository.worktree("a").exists()

            with running(repository, "worktree.create", "a", until=blocked) as process:
                os.killpg(process.pid, number)
                _, err = process.communicate(timeout=30)
            holder.rollback()
        assert process.returncode == 1
        assert "error: interrupted\n  every change of this command was undone" in err
        assert repository.world() == before

    def test_second_ctrl_c_does_not_stop_the_undoing(self, repository, tmp_path):
        """Repeated Ctrl-C does not interrupt undoing, not even a hook that does not ignore it as we do."""
        hook = repository.path / ".git" / "hooks" / "reference-transaction"
        hook.parent.mkdir(exist_ok=True)
        started, undoing = tmp_path / "started", tmp_path / "undoing"
        hook.write_text(
            f"#!{sys.executable}\nimport pathlib, signal, sys, time\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
            f"if sys.argv[1] == 'prepared' and pathlib.Path('{started}').exists():\n"
            f"    pathlib.Path('{undoing}').touch()\n    time.sleep(0.5)\n"
        )
        hook.chmod(0o755)
        before = repository.world()
        migrate = {"WORKTREE_MIGRATE": f"touch {started}; exec sleep 60"}
        with running(repository, "worktree.create", "a", until=started.exists, env=migrate) as process:
            os.killpg(process.pid, signal.SIGINT)
            wait_for(undoing.exists, process)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=30)
        started.unlink()
        undoing.unlink()
        assert "every change of this command was undone" in err
        assert repository.world() == before

    def test_failed_undo_is_reported(self, repository, tmp_path):
        """The record stays, so that the next run can finish."""
        marker = tmp_path / "broken"
        hook = repository.path / ".git" / "hooks" / "reference-transaction"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n! test -e {marker}\n")
        hook.chmod(0o755)
        result = repository.inv("worktree.create", "a", env={"WORKTREE_MIGRATE": f"touch {marker}; exit 1"})
        assert result.returncode == 1
        assert "could not undo `check out a" in result.stderr
        assert [record["state"] for record in repository.records().values()] == ["creating"]
        marker.unlink()
        assert repository.json("worktree.create", "a")["branch"] == "a"


def assert_finished(repository):
    """Assert that there is one worktree with its two databases and one ready record, and nothing half-created."""
    main, a = repository.json("worktree.list")
    assert (main["state"], a["state"], a["branch"]) == ("main", "ready", "a")
    for _ in range(20):
        if not any(name.startswith("goldentree_tmp_") for name in repository.databases()):
            break
        # The server still works for the killed run; a later run deletes the result.
        time.sleep(0.5)
        repository.inv("worktree.gc", "--yes")
    assert repository.databases() == [a["database"], f"{repository.prefix}_q_a_86f7e4"]
    record = repository.records()[a["slug"]]
    notes = repository.path / ".git/goldentree/databases/temporaries"
    for _ in range(20):
        if not any(notes.iterdir()):
            break
        # A companion that got its name at the moment of the kill: the next clone deletes it.
        repository.json("golden.tidy")
        time.sleep(0.5)
    assert not any(notes.iterdir())
    assert record["clone"]["bytes"] > 0
    assert repository.env("a")["DATABASE_URL"].endswith(f"/{a['database']}")
    assert (repository.worktree("a") / "migrated").exists()
    assert repository.git("status", "--porcelain", "--untracked-files=no", cwd=repository.worktree("a")) == ""


@pytest.fixture
def migrating(repository):
    """Configure a migration that leaves a file behind, and one of every other thing that has a step."""
    with (repository.path / ".env").open("a") as env:
        env.write("WORKTREE_MIGRATE='touch migrated'\n")
    (repository.path / "seed.env").write_text("SEED=1\n")
    (repository.path / "invoke.yaml").write_text(
        "worktree:\n  write: {given/slug: '{slug}'}\n  after_setup: echo x >> installed\n"
        f"db:\n  companions: [{{name: {repository.prefix}_q, env: QUEUE_URL, setup: echo x >> queue}}]\n"
    )
    return repository


class TestKilled:
    @pytest.mark.parametrize("task", ["worktree.create", "worktree.setup", "worktree.db"])
    def test_run_killed_after_every_step_is_finished(self, migrating, task):
        """The next run continues, and repeats nothing that runs once."""
        there, arguments, cwd = migrating.worktree("a"), [task], None
        if task == "worktree.create":
            arguments = [task, "a"]
        else:
            cwd = there
            migrating.git("worktree", "add", "--quiet", there, "-b", "a")
        # worktree.db copies no files and migrates every time, so it never gets past that step.
        steps = {"worktree.create": 10, "worktree.setup": 11, "worktree.db": 6}[task]
        for _ in range(steps):
            if task == "worktree.create" and [record["state"] for record in migrating.records().values()] == ["ready"]:
                break  # on a busy machine, several steps of one stage end before the first one's kill
            assert migrating.dies("after", 1, "tasks_lib.plan:Plan._run_step", *arguments, cwd=cwd)
        result = migrating.inv(*arguments, cwd=cwd)
        if task == "worktree.create":
            assert "checked out" in result.stderr or "mark it ready" in result.stderr
        else:
            assert result.returncode == 0, result.stderr
        assert_finished(migrating)
        files = {"queue": 1} if task == "worktree.db" else {"queue": 1, "installed": 1, "seed.env": 1, "given/slug": 1}
        assert {name: len((there / name).read_text().splitlines()) for name in files} == files

    @pytest.mark.parametrize(
        ("where", "number", "function"),
        [
            ("before", 1, "tasks_lib.databases.copy.template:copy"),
            ("after", 1, "tasks_lib.databases.copy.template:copy"),
            ("before", 1, "tasks_lib.databases.clone.strategy:publish"),
            ("after", 1, "tasks_lib.databases.clone.strategy:publish"),
            ("before", 1, "tasks_lib.worktrees.registry:Registry.mark"),
            ("before", 1, "tasks_lib.worktrees.env.dotenv_file:write"),
            ("after", 1, "tasks_lib.worktrees.env.dotenv_file:write"),
        ],
    )
    def test_run_killed_within_a_step_is_finished(self, migrating, where, number, function):
        """The next run continues in the middle of a step."""
        # On a busy machine a template copy is abandoned for a dump.
        while not migrating.dies(where, number, function, "worktree.create", "a"):
            migrating.json("worktree.remove", "a", "--force")
        assert migrating.json("worktree.create", "a")["branch"] == "a"
        assert_finished(migrating)

    def test_checkout_that_git_left_half_done_is_repeated(self, migrating, tmp_path):
        """A power cut leaves the worktree locked as `initializing` and half checked out."""
        marker = tmp_path / "cut"
        (migrating.path / ".gitattributes").write_text("tasks.py filter=cut\n")
        migrating.commit("Filter")
        migrating.git("config", "filter.cut.smudge", f"test -e {marker} || {{ touch {marker}; kill -9 0; }}; cat")
        died = subprocess.run(
            [sys.executable, "-m", "invoke", "worktree.create", "a"],
            cwd=migrating.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            start_new_session=True,
        )
        assert died.returncode == -signal.SIGKILL
        assert "locked initializing" in migrating.git("worktree", "list", "--porcelain")
        assert "to finish it, run:\n      inv worktree.create a\n" in migrating.inv("worktree.remove", "a").stderr
        assert migrating.json("worktree.create", "a")["branch"] == "a"
        assert_finished(migrating)

    def test_interrupted_and_deleted_worktree_is_created(self, migrating):
        """A half-created worktree whose directory was deleted is created again."""
        assert migrating.dies("after", 3, "tasks_lib.plan:Plan._run_step", "worktree.create", "a")
        shutil.rmtree(migrating.worktree("a"))
        assert migrating.json("worktree.create", "a")["branch"] == "a"
        assert_finished(migrating)

    @pytest.mark.parametrize(
        "function",
        [
            "tasks_lib.worktrees.registry:Registry.mark",
            "tasks_lib.worktrees.steps.env_file:dotenv_file.update_env_file",
        ],
    )
    def test_work_in_an_interrupted_worktree_is_kept(self, migrating, function):
        """Files written into a half-created worktree survive a second failure."""
        assert migrating.dies("before", 1, function, "worktree.create", "a")
        note = migrating.worktree("a") / "note"
        note.write_text("precious")
        result = migrating.inv("worktree.create", "a", env={"WORKTREE_MIGRATE": "exit 1"})
        assert result.returncode == 1
        assert note.read_text() == "precious"
        assert migrating.json("worktree.create", "a")["branch"] == "a"

    def test_clone_of_the_killed_run_is_kept(self, migrating):
        """A failing second run does not drop the clone that the first one published."""
        assert migrating.dies("after", 1, "tasks_lib.databases.clone.strategy:publish", "worktree.create", "a")
        migrating.sql("CREATE TABLE mine AS SELECT 1", f"{migrating.prefix}_a_86f7e4")
        assert migrating.inv("worktree.create", "a", env={"WORKTREE_MIGRATE": "exit 1"}).returncode == 1
        assert migrating.json("worktree.create", "a")["clone"]["method"] == "kept"
        assert migrating.sql("SELECT * FROM mine", f"{migrating.prefix}_a_86f7e4") == [(1,)]

    def test_create_does_not_finish_an_adopted_worktree(self, migrating):
        """Undoing what `worktree.db` began would delete a worktree that another program created."""
        there = migrating.worktree("a")
        migrating.git("worktree", "add", "--quiet", there, "-b", "a")
        assert migrating.dies("after", 1, "tasks_lib.plan:Plan._run_step", "worktree.db", cwd=there)
        assert "checked out at" in migrating.refuses("worktree.create", "a", env={"WORKTREE_MIGRATE": "exit 1"})


class TestAtTheSameTime:
    def test_parallel_creations_of_different_branches(self, repository):
        """Six at once succeed, each with its own port, database and subdomain; none needs git's config lock."""
        branches = [f"{letter}/same" for letter in "abcdef"]
        (repository.path / ".git" / "config.lock").touch()
        with ThreadPoolExecutor(len(branches)) as pool:
            created = list(pool.map(lambda branch: repository.json("worktree.create", branch), branches))
        (repository.path / ".git" / "config.lock").unlink()
        assert {worktree["branch"] for worktree in created} == set(branches)
        for key in ("port", "database", "dev_url", "path"):
            assert len({worktree[key] for worktree in created}) == len(branches), key
        assert len(repository.databases()) == len(branches)
        assert {row["state"] for row in repository.json("worktree.list")} == {"main", "ready"}

        # Parallel removals, with a listing at the same time, work as well.
        with ThreadPoolExecutor(len(branches) + 1) as pool:
            seen = pool.submit(lambda: [repository.json("worktree.list") for _ in range(4)])
            removed = list(pool.map(lambda branch: repository.json("worktree.remove", branch), branches))
            assert seen.result()
        assert {removal["databases"] for removal in removed} == {"parked"}
        assert repository.databases() == []
        assert repository.records() == {}

    def test_parallel_creations_of_one_branch(self, repository, tmp_path):
        """One succeeds; the other names the process that holds the lock."""
        started, gate = tmp_path / "started", tmp_path / "gate"
        migrate = {"WORKTREE_MIGRATE": f"touch {started}; until test -e {gate}; do sleep 0.05; done"}
        with running(repository, "worktree.create", "a", until=started.exists, env=migrate) as process:
            said = repository.inv("worktree.create", "a").stderr
            assert f"error: process {process.pid} (worktree.create, since " in said
            assert ") is working on worktree `a_86f7e4`" in said
            assert "process" in repository.inv("worktree.remove", "a", "--force").stderr
            gate.touch()
            assert process.wait(timeout=30) == 0
        assert repository.json("worktree.list")[1]["state"] == "ready"


def change_env(repository, url):
    """Put *url* into the main worktree's env file."""
    path = repository.path / ".env"
    path.write_text(path.read_text().replace(repository.url, url))
