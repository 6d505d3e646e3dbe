"""Isolation, and a real PostgreSQL: no test sees this machine's settings, and none leaves anything behind."""

from __future__ import annotations

import gc
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

import psutil
import psycopg
import pytest
from dotenv import dotenv_values

from tasks_lib.databases.server import binaries
from tasks_lib.databases.server.embedded.cluster import Cluster
from tasks_lib.loquent.fixture import create_fixture
from tests import forks, inprocess, killing, npm
from tests.servers import quick_server

PRIVATE = ("DATABASE_URL", "LEDGER_URL", "GOLDENTREE_", "WORKTREE_", "CONDUCTOR_", "GIT_", "PG", "XDG_", "INVOKE_")


def pytest_addoption(parser):
    parser.addoption("--stress", type=float, default=5, help="seconds for which worktrees are created and removed")
    parser.addoption(
        "--only-major", action="store_true", help="run only tests marked `every_major`, on the other major"
    )
    parser.addoption("--every-point", action="store_true", help="kill clones at every message, which takes minutes")


def pytest_configure(config):
    _use_memory()
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that; tests send it to them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers",
        "every_major(slow=False): also runs on the newest other PostgreSQL of this machine, a slow test only on one "
        "that GOLDENTREE_TEST_MAJOR names",
    )


def _use_memory():
    """Keep servers and repositories in memory if there is enough: on a disk, copies take three times as long."""
    memory, needed = Path("/dev/shm"), 4 * 1024**3
    if "TMPDIR" in os.environ or not memory.is_dir() or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return
    if min(shutil.disk_usage(memory).free, psutil.virtual_memory().available) > needed and os.access(memory, os.W_OK):
        os.environ["TMPDIR"] = str(memory)
        tempfile.tempdir = None


def pytest_collection_finish():
    """Spare the garbage collector what lives to the end: it took a tenth of the tests' own time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_report_header():
    servers = ", ".join(f"{programs.release} ({programs.directory})" for programs in majors())
    return [f"postgres: {servers}", subprocess.check_output(["git", "version"], text=True).strip()]


def pytest_generate_tests(metafunc):
    """Run on the embedded PostgreSQL; tests marked `every_major` on another major version, too, if there is one."""
    marker = metafunc.definition.get_closest_marker("every_major")
    every = marker and (not marker.kwargs.get("slow") or "GOLDENTREE_TEST_MAJOR" in os.environ)
    chosen = majors() if every else majors()[:1]
    for fixture in {"server_url", "programs"} & set(metafunc.fixturenames):
        metafunc.parametrize(fixture, chosen, ids=lambda major: f"pg{major.major}", indirect=True, scope="session")


@cache
def majors():
    """
    Return the embedded server's programs, and those of another major version where there are some.

    These are the newest on this machine, or what GOLDENTREE_TEST_MAJOR names: a major version, or a `bin` directory.
    """
    embedded = binaries.find_server_programs()
    installed = [found for found in binaries.list_installed() if found.has(*binaries.SERVER)]
    wanted = os.environ.get("GOLDENTREE_TEST_MAJOR")
    if not wanted:
        others = [found for found in installed if found.major != embedded.major]
    elif wanted.isdecimal():
        others = [found for found in installed if found.major == int(wanted)]
    else:
        others = [found for found in [binaries.find_at(Path(wanted))] if found]
    if wanted and not others:
        raise pytest.UsageError(f"PostgreSQL {wanted}, which GOLDENTREE_TEST_MAJOR names, is not installed")
    return [embedded, *others[:1]]


LONGEST = ("test_six_agents.py", "test_parallel.py", "test_stress.py", "test_golden_build.py", "test_crash.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Begin with what takes longest, so that no worker is left alone with it in the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if config.getoption("only_major"):
        chosen = [item for item in items if _on_other_major(item)]
        config.hook.pytest_deselected(items=[item for item in items if not _on_other_major(item)])
        items[:] = chosen


def _on_other_major(item):
    return hasattr(item, "callspec") and majors()[-1] in item.callspec.params.values()


@pytest.fixture(autouse=True, scope="session")
def _scrubbed_environment():
    """Nothing that people and agents export reaches us: not their database, not the hook that runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(PRIVATE):
                patch.delenv(name)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(autouse=True)
def home(monkeypatch):
    """
    Give every test an empty home directory, with a git identity, and a place for its own embedded server.

    Not below `tmp_path`: for root, that is closed to the account which PostgreSQL runs as.
    """
    directory = Path(tempfile.mkdtemp(prefix="goldentree-home-")).resolve()
    directory.chmod(0o711)
    config = directory / ".gitconfig"
    config.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n")
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    for name, folder in {
        "CONFIG": ".config",
        "CACHE": ".cache",
        "DATA": ".local/share",
        "STATE": ".local/state",
    }.items():
        monkeypatch.setenv(f"XDG_{name}_HOME", str(directory / folder))
    monkeypatch.setenv("GOLDENTREE_HOME", str(directory / "goldentree"))
    yield directory
    Cluster(directory / "goldentree").destroy()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def servers():
    """Start servers when first asked for, each once, and end them with the session."""
    with ExitStack() as running:
        urls = {}

        def url(programs):
            if programs not in urls:
                urls[programs] = running.enter_context(quick_server(programs))
            return urls[programs]

        yield url


@pytest.fixture(scope="session")
def server_url(servers, request):
    """Give the libpq URL of a disposable server's maintenance database; its user is a superuser."""
    return servers(request.param)


@pytest.fixture(scope="session")
def other_url(servers):
    """Give the URL of another server than the embedded one, of an older major version where there is one."""
    embedded = binaries.find_server_programs()
    older = [programs for programs in majors() if programs.major < embedded.major]
    if older:
        yield servers(older[0])
    else:
        with quick_server(embedded) as url:
            yield url


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory):
    """Install dbmate and drizzle-kit from npm."""
    packages = ("dbmate@2", "drizzle-kit@0.31", "drizzle-orm@0.45", "pg@8")
    return npm.install(tmp_path_factory.mktemp("npm"), *packages)


@pytest.fixture(scope="session")
def programs(request):
    """Give the PostgreSQL programs that the test is about."""
    return request.param


@pytest.fixture(scope="session")
def accounts():
    """Give a function that makes a database with the fixture's account once: `server_url` may go and come back."""

    @cache
    def make(url, name):
        create_fixture(url, name)
        return name

    return make


@pytest.fixture(scope="session")
def golden(server_url, accounts):
    """Give the name of the golden template on the server of `server_url`; for reading only."""
    return accounts(server_url, "loquent_latest")


class Repository:
    """A git repository with a `tasks.py` and an env file, and `inv` to run in it."""

    def __init__(self, path: Path, database_url: str, golden: str, prefix: str):
        self.path = path
        self.prefix = prefix
        self.url = database_url
        path.mkdir()
        self.git("init", "--quiet")
        (path / "tasks.py").write_text("from tasks_lib import ns\n")
        (path / ".gitignore").write_text(".env*\nseed.env\n")
        self.commit("Start")
        (path / ".env").write_text(
            f"APP_HOST=https://team.ngrok.app  # kept\nPORT=3000\nDATABASE_URL='{database_url}'\n"
            f"WORKTREE_TEMPLATE_DB={golden}\nWORKTREE_DB_PREFIX={prefix}\n"
        )

    def git(self, *arguments, cwd=None):
        """Run git and return its stdout; a failure fails the test."""
        return subprocess.run(
            ["git", *map(str, arguments)], cwd=cwd or self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, message, cwd=None):
        """Commit everything that is not ignored."""
        self.git("add", "--all", cwd=cwd)
        self.git("commit", "--quiet", "--allow-empty", "--message", message, cwd=cwd)

    def inv(self, *arguments, cwd=None, env=None, timeout=120):
        """
        Run `inv` as a user would, without a terminal, and return what it printed and its status.

        In this process where that makes no difference: not where programs are looked for elsewhere, nor beside another
        thread, and not where psql takes the process over.
        """
        own = (
            "PATH" in (env or {}) or threading.current_thread() is not threading.main_thread() or "db.psql" in arguments
        )
        if not own:
            return inprocess.inv(cwd or self.path, env or {}, *map(str, arguments))
        forked = forks.inv(*map(str, arguments), cwd=cwd or self.path, env=env)
        return subprocess.CompletedProcess(arguments, *forked.wait(timeout))

    def dies(self, where, number, function, *arguments, cwd=None):
        """Run `goldentree` until it kills itself *where* the *number*th call of *function* begins or ends, if so."""
        status, said = killing.run(cwd or self.path, where, number, function, *map(str, arguments))
        assert status in (0, -signal.SIGKILL), said
        return status != 0

    def json(self, *arguments, **options):
        """Run `inv` with `--json`, expect success, and return the answer's data."""
        result = self.inv(*arguments, "--json", **options)
        assert result.returncode == 0, result.stderr + result.stdout
        return json.loads(result.stdout)["data"]

    def worktree(self, branch):
        """Return where the worktree of *branch* goes by default."""
        return self.path.with_name(f"{self.path.name}-{branch.replace('/', '-')}")

    def env(self, branch=None):
        """Return what an application reads from the env file, of the main worktree or of *branch*'s."""
        return dotenv_values((self.worktree(branch) if branch else self.path) / ".env", interpolate=False)

    def databases(self, *, parked=False):
        """Return this repository's databases, by their names' prefix or as they are being made; or those parked."""
        # The server may still be running a statement for a client that another test has killed.
        noted = {note.name for note in (self.path / ".git/goldentree/databases/temporaries").glob("goldentree_tmp_*")}
        file = self.path / ".git/goldentree/repository.json"
        known = json.loads(file.read_text())["id"] if file.exists() else "?"
        rows = self.sql(
            "SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database ORDER BY 1"
        )
        ours = [
            name
            for name, comment in rows
            if name.startswith(f"{self.prefix}_")
            or (name.startswith("goldentree_tmp_") and (name in noted or known in comment))
        ]
        return [name for name in ours if ("_parked_" in name) == parked]

    def sql(self, statement, database="postgres"):
        """Run one statement and return its rows, if it has any."""
        with psycopg.connect(self.url, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def records(self):
        """Return the registry's records by slug."""
        files = (self.path / ".git" / "goldentree" / "worktrees").glob("*.json")
        return {file.stem: json.loads(file.read_text()) for file in files}

    def world(self):
        """Return all that a refused command must leave as it was."""
        rows = self.sql("SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database ORDER BY 1")
        mine = self.databases()
        return {
            "worktrees": self.git("worktree", "list", "--porcelain"),
            "refs": self.git("for-each-ref"),
            "records": self.records(),
            # A snapshot, taken where golden is in use, is kept; other tests' repositories are tidied in the background.
            "databases": [row for row in rows if not row[0].startswith("goldentree_") or row[0] in mine],
            "beside": sorted(self.path.parent.iterdir()),
            "env": {path: path.read_bytes() for path in self.path.parent.glob("*/.env")},
        }

    def refuses(self, *arguments, **options):
        """Run `inv`, expect an error and nothing else to have happened, and return what it said."""
        before = self.world()
        result = self.inv(*arguments, **options)
        assert (result.returncode, result.stdout) == (1, ""), result.stdout + result.stderr
        assert "error: " in result.stderr
        assert not result.stderr.startswith("Traceback")
        assert "\nTraceback" not in result.stderr
        assert self.world() == before
        return result.stderr


@pytest.fixture
def repository(tmp_path, server_url, golden):
    """Give a repository of a small application whose golden template is `golden`."""
    url = server_url.rpartition("/")[0] + f"/{golden}"
    repository = Repository(tmp_path / "app", url, golden, f"t{secrets.token_hex(4)}")
    yield repository
    # Only for the memory that they take: what a background process removes or renames at this moment may stay.
    with psycopg.connect(server_url, autocommit=True) as connection:
        for name in [*repository.databases(), *repository.databases(parked=True)]:
            with suppress(psycopg.Error):
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
