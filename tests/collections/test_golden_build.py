"""`golden.build` and `golden.verify`, as users meet them: real servers, real processes, and a stand-in for Twilio."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tasks_lib.databases.server.binaries import find_clients
from tasks_lib.demo.twilio import phone_number, playing, refusal
from tasks_lib.loquent import golden_build, schema, twilio
from tasks_lib.loquent.blocks import BLOCKS
from tasks_lib.loquent.credentials import verify_password
from tasks_lib.toolchains.run import run

STRIPE = {"STRIPE_SECRET_KEY": "sk_test_canary-1", "STRIPE_WEBHOOK_SECRET": "whsec_canary-2"}
LINES = [phone_number(f"+1500555000{n}", f"Line {n}") for n in (6, 7, 8)]


@pytest.fixture(scope="module")
def migrated(server_url):
    """Give the name of a database that only the bundled migrations have run on."""
    name = f"migrated_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        url = server_url.rpartition("/")[0] + f"/{name}"
        run(schema.BUNDLED, env={**os.environ, "DATABASE_URL": url}, on_line=str, hint="")
        yield name
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def psql(server_url, migrated, tmp_path_factory):
    """Give a command that migrates as the bundled migrations do, in a tenth of the time."""
    script = tmp_path_factory.mktemp("migrated") / "schema.sql"
    with psycopg.connect(server_url) as connection:
        pg_dump = find_clients(connection.info.server_version).program("pg_dump")
    url = server_url.rpartition("/")[0] + f"/{migrated}"
    subprocess.run([pg_dump, "--no-owner", "--file", script, url], check=True)
    return f"psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 --output /dev/null --file {script}"


@pytest.fixture
def stand_in(monkeypatch):
    """Play Twilio, which is asked again without a wait."""
    monkeypatch.setattr(twilio, "BACKOFF", 0.01)
    with playing(LINES, page_size=2) as play:
        yield play


class Builder:
    """A repository whose golden template is not there yet, and tasks in it that tell no secret."""

    def __init__(self, repository, migrated):
        self.repository, self.migrated = repository, migrated
        self.path, self.sql = repository.path, repository.sql
        self.golden = f"{repository.prefix}_latest"
        self.credentials = self.path / ".local-credentials"
        env = self.path / ".env"
        env.write_text(env.read_text().replace("=loquent_latest", f"={self.golden}"))

    def setting(self, **variables):
        """Add *variables* to the env file."""
        with (self.path / ".env").open("a") as env:
            env.writelines(f"{key}={json.dumps(value)}\n" for key, value in variables.items())

    def seed(self, play=None, *, parent=False, **keys):
        """Write a `seed.env` with *keys*, and with the account that *play* plays, to share or as a *parent*."""
        names = ("ACCOUNT_SID", "AUTH_TOKEN") if parent else ("WORKTREE_SUBACCOUNT_SID", "WORKTREE_SUBACCOUNT_TOKEN")
        if play:
            account = dict(zip(names, (play.account.sid, play.account.token), strict=True))
            keys |= {f"TWILIO_{name}": value for name, value in account.items()} | {"TWILIO_API_URL": play.url}
        (self.path / "seed.env").write_text("".join(f"{key}={value}\n" for key, value in keys.items()))

    def migrate(self):
        """Make the golden template, with the schema alone."""
        self.sql(f'CREATE DATABASE "{self.golden}" TEMPLATE {self.migrated}')

    def logins(self):
        """Return the password of each email, of which there is one."""
        text = self.credentials.read_text() if self.credentials.exists() else ""
        lines = [line.split(" / ") for line in text.splitlines() if not line.startswith("#")]
        assert len(lines) == len(dict(lines))
        return dict(lines)

    def assert_safe(self, text):
        """Check that *text* has no secret, and return it."""
        password = self.repository.url.partition("@")[0].rpartition(":")[2]
        for secret in [password, "stand-in" * 4, *STRIPE.values(), *self.logins().values()]:
            assert secret not in text
        return text

    def __call__(self, *arguments, task="golden.build", status=0):
        """Run *task* in this process, and return what it printed to stdout and stderr."""
        result = self.repository.inv(task, *arguments)
        said = self.assert_safe(result.stdout), self.assert_safe(result.stderr)
        assert result.returncode == status, said
        return said

    def data(self, *arguments, **options):
        """Run a task with `--json`, and return its data."""
        return json.loads(self(*arguments, "--json", **options)[0])["data"]

    def states(self, *arguments):
        """Build, and return the state of each block."""
        return {block["block"]: block["state"] for block in self.data(*arguments)["blocks"]}

    def fingerprint(self):
        """Return golden's fingerprint."""
        return self.data(task="golden.status")["fingerprint"]

    def world(self):
        """Return everything that a refused build must not change."""
        return self.repository.world(), sorted(self.path.iterdir()), self.logins()

    def refuses(self, *arguments, **options):
        """Check that a task fails and changes nothing, and return the error."""
        before = self.world()
        answer, said = self(*arguments, status=1, **options)
        assert "error: " in said
        assert answer == ""
        assert self.world() == before
        return said

    @contextmanager
    def start(self, *arguments):
        """Run `inv golden.build` as a process of its own; it ends where the test fails."""
        command = [sys.executable, "-m", "invoke", "golden.build", *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self.path, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        ) as process:
            try:
                yield process
            except BaseException:
                process.terminate()
                raise

    def wait(self, query):
        """Wait until *query* has a row."""
        deadline = time.monotonic() + 30
        while not self.sql(query):
            assert time.monotonic() < deadline
            time.sleep(0.01)


WAITING = "SELECT pid FROM pg_locks WHERE NOT granted"
WAITING_FOR_ITS_TURN = (
    "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory%' AND pid <> pg_backend_pid() "
    "AND query_start > statement_timestamp() - interval '100 ms'"
)
"""A session that asks again and again for an advisory lock."""
UNLOCKED = "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')"


@pytest.fixture
def build(repository, migrated):
    return Builder(repository, migrated)


def read_until(stream, text):
    """Read lines of *stream* until one holds *text*."""
    lines = []
    while text not in "".join(lines):
        lines.append(stream.readline())
        assert lines[-1], lines
    return "".join(lines)


def test_build_without_configuration_gives_a_usable_golden(build):
    """Without a tool and settings, golden is built, verified and cloned; a second run changes nothing."""
    repository = build.repository
    made = repository.inv("golden.build")
    assert made.returncode == 0, made.stderr
    build.assert_safe(made.stdout + made.stderr)
    rows = [re.split("  +", line) for line in made.stdout.splitlines()]
    assert [row[0] for row in rows[1:17]] == [block.name for block in BLOCKS]
    assert ["tags", "made", "Lead, Customer, Do not call"] in rows
    assert ["numbers", "skipped", "TWILIO_WORKTREE_SUBACCOUNT_SID is not set in seed.env"] in rows
    assert ["schema", "by goldentree's own migrations"] in rows
    assert rows[-2][:2] == ["golden", build.golden]
    assert re.fullmatch(r"\(new, \d+ MB\)", rows[-2][2])
    assert "  │ Running upgrade m004 -> m005" in made.stderr
    assert f"the password of owner@example.com is in {build.credentials}" in made.stderr
    assert f"✓ build the golden template {build.golden}, by goldentree's own migrations" in made.stderr

    assert stat.S_IMODE(build.credentials.stat().st_mode) == 0o600
    assert repository.git("status", "--porcelain") == ""
    logins = build.logins()
    query = 'SELECT email, password_hash FROM email_password_account JOIN "user" ON "user".id = user_id'
    assert {email: verify_password(logins[email], hash_) for email, hash_ in build.sql(query, build.golden)} == {
        "owner@example.com": True,
        "staff@example.com": True,
    }

    before = build.fingerprint()
    again = build.data()
    assert (again["created"], again["schema"]) == (False, "as it is")
    assert {block["state"] for block in again["blocks"]} == {"there", "skipped"}
    assert "0 of 16 blocks made" in build()[1]
    assert before == build.fingerprint()
    assert build.logins() == logins

    answer, _ = build(task="golden.verify")
    assert [line[0] for line in answer.splitlines()] == list("✓✓--✓✓✓✓")
    database = repository.json("worktree.create", "a")["database"]
    assert build.sql("SELECT count(*) FROM contact", database) == [(10,)]
    build.sql("DELETE FROM staff_presence", build.golden)
    answer, _ = build(task="golden.verify", status=1)
    assert "✗ second staff member                 no presence" in answer
    assert "golden.build adds what is missing" in answer
    assert build.states()["staff"] == "made"


def test_twilios_numbers_are_added(build, stand_in, psql):
    """Numbers on all pages are added, and Text Reply gets the first."""
    build.setting(WORKTREE_MIGRATE=psql)
    build.seed(stand_in, **STRIPE)
    assert set(build.states().values()) == {"made"}
    assert len(stand_in.requests) == 2
    query = "SELECT number, slug FROM phone_number LEFT JOIN ai_agent ON ai_agent.id = ai_agent_id ORDER BY 1"
    assert build.sql(query, build.golden) == [
        ("+15005550006", "text-reply"),
        ("+15005550007", None),
        ("+15005550008", None),
    ]
    answer, _ = build(task="golden.verify")
    assert [line[0] for line in answer.splitlines()] == list("✓" * 8)
    # A number that was bought since then is added, and the text agent keeps its number.
    stand_in.numbers = [phone_number("+15005550001", "New"), *LINES]
    assert [block["made"] for block in build.data()["blocks"] if block["state"] == "made"] == [["+15005550001"]]
    assert build.sql(query, build.golden)[0] == ("+15005550001", None)


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ([refusal(401, 20003, "Authenticate")], "correct TWILIO_WORKTREE_SUBACCOUNT_SID / TWILIO_WORKTREE_SUBACCOUNT"),
        ([refusal(500, 20500, "Oops")] * 9, "Twilio answers 500: 20500 Oops"),
    ],
)
def test_failure_of_twilio_makes_nothing(build, stand_in, psql, faults, error):
    """Wrong credentials or a server error are an error, and nothing is created, not even a login."""
    build.setting(WORKTREE_MIGRATE=psql)
    build.seed(stand_in)
    stand_in.faults += faults
    assert error in build.refuses()
    stand_in.faults[:] = faults
    document = json.loads(build("--json", status=1)[0])
    assert document["error"]["code"] == "twilio"
    assert not build.credentials.exists()


def test_subaccount_is_created_only_once(build, stand_in, psql):
    """Without a shared account, one subaccount is created; numbers are skipped, because a new one has none."""
    build.setting(WORKTREE_MIGRATE=psql)
    build.seed(stand_in, parent=True)
    answer, said = build()
    assert "warning: seed.env names no shared Twilio account" in said
    assert re.search(r"numbers +skipped", answer)
    query = "SELECT account_sid, is_byo, sms_events_active FROM organization_twilio_settings"
    made = build.sql(query, build.golden)
    assert made == [(stand_in.accounts[1]["sid"], False, False)]
    build.sql(f'DROP DATABASE "{build.golden}"')
    logins = build.logins()
    assert build.states()["twilio"] == "made"
    assert build.sql(query, build.golden) == made
    assert build.logins() == logins
    assert "warning" not in build("--only", "tags")[1]
    assert [request for request in stand_in.requests if "POST" in request] == ["POST /2010-04-01/Accounts.json"]
    # If Twilio refuses the subaccount, the first password is written already; the next run uses it.
    build.sql(f'DROP DATABASE "{build.golden}"')
    build.credentials.unlink()
    stand_in.faults.append(refusal(401, 20003, "Authenticate"))
    assert "correct TWILIO_ACCOUNT_SID / TWILIO_AUTH_TOKEN" in build(status=1)[1]
    assert build.repository.databases() == []
    assert build.logins().keys() == {"owner@example.com"}
    build()


ENV = """
import os, sys
import psutil
from pathlib import Path
chain = [psutil.Process(), *psutil.Process().parents()]
commands = [process.cmdline() for process in chain]
Path(__file__).with_name("ps").write_text(str([command for command in commands if "pytest" not in str(command)]))
print("env", dict(os.environ))
print(os.environ["DATABASE_URL"], os.environ["STRIPE_SECRET_KEY"], file=sys.stderr)
"""


@pytest.fixture
def alembic(build, monkeypatch):
    """Migrate the repository by Alembic with Loquent's migrations, which print their environment."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_of-the-shell")
    folder = build.path / "migrations"
    shutil.copytree(Path(schema.__file__).parent / "migrations", folder)
    (build.path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n")
    script = (folder / "env.py").read_text()
    (folder / "env.py").write_text(script.replace("import annotations\n", f"import annotations\n{ENV}"))
    return folder


def test_repositorys_own_migrations_are_used(build, alembic):
    """The repository's migrations make the schema and get the sandbox's keys; their output and `ps` show no secret."""
    build.seed(**STRIPE)
    assert "migrated by alembic upgrade heads" in build("--dry-run")[0]
    _, said = build()
    assert "STRIPE_SECRET_KEY" in said
    assert "sk_live" not in said
    assert build.sql("SELECT stripe_secret_key, stripe_webhook_secret FROM core_conf", build.golden) == [
        tuple(STRIPE.values())
    ]
    chain = (alembic / "ps").read_text()
    assert "alembic" in chain
    build.assert_safe(chain)


def test_failed_migration_leaves_nothing(build, alembic):
    """The error has the migration's message without secrets; a schema of another product is refused."""
    build.seed(**STRIPE)
    revision = 'revision, down_revision = "m006", "m005"\n\n\ndef upgrade():\n    raise ValueError("no " + str(ENV))\n'
    last = alembic / "versions" / "m006_bad.py"
    last.write_text(f"import os\n\nENV = dict(os.environ)\n{revision}")
    said = build.refuses()
    assert "`alembic upgrade heads` exited with 1" in said
    assert "ValueError: no {" in said
    assert not build.credentials.exists()

    shutil.rmtree(alembic / "versions")
    last.parent.mkdir()
    last.write_text('from alembic import op\nrevision, down_revision = "m001", None\ndef upgrade(): ...\n')
    said = build.refuses()
    assert f"the schema of `{build.golden}` is not Loquent's: it has no `user`, " in said
    assert "\n      WORKTREE_MIGRATE=none inv golden.build\n      inv golden.pull\n" in said


def test_dry_run_changes_nothing(build, stand_in, psql):
    """A dry run prints what it would make, and makes no request to Twilio, with or without a golden."""
    build.setting(WORKTREE_MIGRATE=psql)
    build.seed(stand_in)
    before = build.world()
    answer, said = build("--dry-run")
    assert (answer, said) == (build("--dry-run")[0], "")
    assert re.findall(r"^([a-z-]+) +would make", answer, re.MULTILINE) == [block.name for block in BLOCKS]
    assert f"golden  {build.golden}  (would be new)\nschema  migrated by psql" in answer
    assert build.world() == before
    build()
    asked = list(stand_in.requests)
    build.sql("DELETE FROM tag WHERE name = 'Lead'; DELETE FROM call", build.golden)
    before = build.world(), build.fingerprint()
    result = build.repository.inv("-R", "golden.build")
    assert result.returncode == 0
    assert re.findall(r"^([a-z-]+) +would make +(.*)", result.stdout, re.MULTILINE) == [
        ("tags", "Lead"),
        ("contacts", "tag of Ben O'Hara, tag of 小明"),
        ("conversation", "call"),
    ]
    assert (build.world(), build.fingerprint()) == before
    assert stand_in.requests == asked


def test_only_makes_one_block(build):
    """--only makes one block; if one that it needs is missing, the hint is the command that makes that."""
    assert "does not exist\n  --only adds to an existing golden template" in build.refuses("--only", "tags")
    build.migrate()
    assert "hint: inv golden.build --only owner  # or all of them" in build.refuses("--only", "agents")
    for name in ("x", ""):
        said = build.refuses("--only", name)
        assert f"block `{name}` does not exist\nhint: one of: user, account, organization" in said
    build()
    build.sql("DELETE FROM tag WHERE name = 'Lead'", build.golden)
    assert build.data("--only", "tags")["blocks"] == [
        {"block": "tags", "state": "made", "made": ["Lead"], "reason": None}
    ]
    assert build.states()["contacts"] == "made", "the tags of contacts, which --only has left out"


def test_into_refuses_names_of_other_databases(build, psql, migrated):
    """--into accepts any name that PostgreSQL does not shorten, except that of a database with another role."""
    build.setting(WORKTREE_MIGRATE=psql)
    build.migrate()
    build()
    clone = build.repository.json("worktree.create", "a", env={"WORKTREE_MIGRATE": "none"})["database"]
    snapshot = build.data(task="golden.refresh")["database"]
    for name, error in {
        "postgres": "is PostgreSQL's own database",
        "": "`` cannot be the name of a golden template",
        "x" * 64: "a database's name has 1 to 63 bytes",
        "ü" * 32: "a database's name has 1 to 63 bytes",
        clone: f"`{clone}` is the clone of worktree `a_86f7e4`",
        snapshot: f"`{snapshot}` is the snapshot of `{build.golden}`",
    }.items():
        assert error in build.refuses("--into", name), name
    odd = f"""-{build.repository.prefix} "q" 'é'\\%s={{}}"""
    for name in (odd, odd.ljust(61, "x")):
        assert build.data(f"--into={name}")["golden"] == name
        assert build.states(f"--into={name}", "--only", "tags") == {"tags": "there"}
        assert build.data(f"--into={name}", task="golden.verify")["usable"]
        quoted = name.replace('"', '""')
        build.sql(f'DROP DATABASE "{quoted}"')


def test_production_and_live_keys_are_refused(build, psql):
    """A name of production is refused without --force; live keys and a wrong `seed.env` always are."""
    build.setting(WORKTREE_MIGRATE=psql)
    name = f"{build.repository.prefix}_prod"
    said = build.refuses("--into", name)
    assert f"it looks like production: the name of its golden is `{name}`" in said
    assert "inv golden.build --force\n" in said
    assert build.data("--into", name, "--force")["created"] is True
    assert "the name of its golden is" in build.refuses("--into", name)

    build.migrate()
    build.sql("UPDATE core_conf SET stripe_secret_key = 'rk_live_canary'", build.golden)
    said = build.refuses()
    assert f"`{build.golden}` has a live Stripe key" in said
    assert "canary" not in said
    build.sql("UPDATE core_conf SET stripe_secret_key = NULL", build.golden)
    key = "UPDATE core_conf SET stripe_secret_key = 'sk_live_canary'"
    build.setting(WORKTREE_MIGRATE=f'{psql} && psql --quiet --no-psqlrc --command "{key}"')
    said = build.refuses("--into", f"{build.golden}_new")
    assert f"`{build.golden}_new` has a live Stripe key" in said
    build.seed(STRIPE_SECRET_KEY="sk_live_canary")
    said = build.refuses("--force")
    assert "`STRIPE_SECRET_KEY` in" in said
    assert "canary" not in said
    build.seed(SEED_SAMPLE_DAT=0)
    assert "the most similar key is SEED_SAMPLE_DATA" in build.refuses()
    (build.path / "seed.env").write_bytes(b"SEED_OWNER_EMAIL=\xff\n")
    assert "seed.env" in build.refuses()


def test_unreachable_server_is_an_error(build, monkeypatch):
    """The error names the server without its password."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:canary@127.0.0.1:1/db")
    _, said = build(status=1)
    assert "no PostgreSQL server answers at postgresql://me:***@127.0.0.1:1/db" in said
    assert json.loads(build("--json", status=1)[0])["error"]["code"] == "server"


def test_other_sessions_stay_connected(build, monkeypatch):
    """Other sessions stay connected; a table that stays locked is an error after a while."""
    build.migrate()
    with ExitStack() as opened:
        url = build.repository.url.replace("loquent_latest", build.golden)
        writer, *readers = (opened.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(3))
        writer.execute("BEGIN")
        writer.execute("INSERT INTO organization (name, slug) VALUES ('Another', 'another')")
        assert "skipped" in build()[0]
        writer.execute("COMMIT")
        counts = [session.execute("SELECT count(*) FROM organization").fetchone() for session in (writer, *readers)]
        assert counts == [(2,)] * 3

        monkeypatch.setattr(golden_build, "PATIENCE", "50ms")
        for table in ("tag", "ai_agent"):
            with writer.transaction():
                writer.execute(f"LOCK TABLE {table}")
                for task in ("golden.build", "golden.verify"):
                    said = build.refuses(task=task)
                    assert f"a lock in `{build.golden}` was not released in time" in said


def test_failed_build_leaves_no_rows(build, stand_in):
    """If the last block fails, the first is not kept either; the error does not show the refused row."""
    build.seed(stand_in)
    build.migrate()
    build.sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no calls'; END $$;"
        "CREATE TRIGGER no BEFORE INSERT ON call FOR EACH ROW EXECUTE FUNCTION no()",
        build.golden,
    )
    before = build.fingerprint()
    assert "no calls" in build(status=1)[1]
    assert build.sql('SELECT count(*) FROM "user"', build.golden) == [(0,)]
    build.sql("DROP TRIGGER no ON call", build.golden)
    build.sql("ALTER TABLE organization_twilio_settings ADD region text NOT NULL", build.golden)
    _, said = build(status=1)
    assert 'block `twilio` cannot be made: null value in column "region"' in said
    build.sql("ALTER TABLE organization_twilio_settings DROP region", build.golden)
    assert before != build.fingerprint()
    assert set(build.states().values()) == {"made"}


def test_killed_build_is_completed_by_the_next(build, stand_in, psql, request):
    """After a kill at any point, the next build completes golden, with one login each and one subaccount."""
    build.setting(WORKTREE_MIGRATE=psql)
    build.seed(stand_in, parent=True)
    makes = [
        (where, number, "tasks_lib.loquent.account_blocks:_make")
        for number in range(1, 14)
        for where in ("before", "after")
    ]
    publish = [(where, 1, "tasks_lib.databases.golden.build:publish_as_golden") for where in ("before", "after")]
    points = [(new, *point) for new in (True, False) for point in makes + publish * new]
    if not request.config.getoption("--every-point"):
        # After the subaccount, which the transaction does not contain; before the name; after the last block.
        points = [(True, *makes[17]), (True, *publish[0]), (False, *makes[17]), (False, *makes[-1])]
    for new, *point in points:
        stand_in.requests.clear()
        if not new:
            build.migrate()
        assert build.repository.dies(*point, "golden.build"), point
        build.wait(UNLOCKED)
        left = build.repository.databases()
        assert [name.startswith("goldentree_tmp_") for name in left] == [new]
        _, said = build()
        assert not new or f"dropped {left[0]}" in said
        assert build.data(task="golden.verify")["usable"]
        assert build.repository.databases() == [build.golden]
        assert build.logins().keys() == {"owner@example.com", "staff@example.com"}
        assert sum("POST" in request for request in stand_in.requests) == 1
        before = build.fingerprint()
        assert "made" not in build.states().values()
        assert build.fingerprint() == before
        build.sql(f'DROP DATABASE "{build.golden}"')
        build.credentials.unlink()
        del stand_in.accounts[1:]


@pytest.mark.parametrize("where", ["migration", "twilio"])
def test_interrupted_build_leaves_nothing(build, stand_in, where):
    """Ctrl-C leaves nothing, in the migration and while waiting for Twilio."""
    build.setting(WORKTREE_MIGRATE="echo started; sleep 60")
    build.seed(stand_in)
    if where == "twilio":
        stand_in.faults.append(refusal(503, 20503, "Busy", **{"Retry-After": "50"}))
    before = build.world()
    with build.start() as process:
        read_until(process.stderr, "started" if where == "migration" else "trying again in 50 s")
        assert len(build.repository.databases()) == (where == "migration")
        process.send_signal(signal.SIGINT)
        answer, said = process.communicate(timeout=30)
    assert (process.returncode, answer) == (1, "")
    assert "error: interrupted\n  either it was complete already, or nothing of it is left" in build.assert_safe(said)
    assert build.world() == before


def test_concurrent_builds_make_one_golden(build, stand_in, psql):
    """Of two concurrent builds, one makes golden, and the other then says that it exists."""
    go = build.path.parent / "go"
    build.setting(WORKTREE_MIGRATE=f"echo started; until [ -e {go} ]; do sleep 0.02; done; {psql}")
    build.seed(stand_in, parent=True)
    with build.start() as first:
        read_until(first.stderr, "started")
        with build.start("--json") as second:
            build.wait(WAITING_FOR_ITS_TURN)
            go.touch()
            answers = [process.communicate(timeout=30) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 1), answers
    assert (
        f"a database `{build.golden}` has been created in the meantime" == json.loads(answers[1][0])["error"]["message"]
    )
    assert build.repository.databases() == [build.golden]
    assert len(stand_in.accounts) == 2
    assert "made" not in build.states().values()


def test_concurrent_additions_both_succeed(build):
    """Two builds that add to the same golden run one after the other, and add nothing twice."""
    build.migrate()
    url = build.repository.url.replace("loquent_latest", build.golden)
    with psycopg.connect(url) as session, build.start("--json") as first, build.start("--json") as second:
        session.execute("LOCK TABLE tag")
        build.wait(WAITING)
        build.wait(WAITING_FOR_ITS_TURN)
        session.rollback()
        answers = [process.communicate(timeout=30) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), answers
    states = [{block["state"] for block in json.loads(answer)["data"]["blocks"]} for answer, _ in answers]
    assert sorted(map(sorted, states)) == [["made", "skipped"], ["skipped", "there"]]
    assert build.data(task="golden.verify")["usable"]
    assert build.sql("SELECT count(*) FROM contact", build.golden) == [(10,)]


def test_refused_row_shows_no_secret(build, stand_in):
    """PostgreSQL may quote a row that a type, a trigger or a deferred constraint refuses; the error does not."""
    build.seed(stand_in)
    build.migrate()
    table = "organization_twilio_settings"
    trigger = (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE 'no %', NEW USING DETAIL = NEW::text; END $$;"
        f"CREATE {{}} AFTER INSERT ON {table} {{}} FOR EACH ROW EXECUTE FUNCTION no()"
    )
    for break_, fix, said in (
        (
            f"ALTER TABLE {table} DROP CONSTRAINT {table}_auth_token_check, ALTER auth_token TYPE uuid USING NULL",
            f"ALTER TABLE {table} ALTER auth_token TYPE text",
            'does not fit the schema: invalid input syntax for type uuid: "***"',
        ),
        (trigger.format("TRIGGER no", ""), "DROP FUNCTION no CASCADE", "cannot be made: no ("),
        (
            trigger.format("CONSTRAINT TRIGGER no", "INITIALLY DEFERRED"),
            "DROP FUNCTION no CASCADE",
            "cannot be made: no (",
        ),
    ):
        build.sql(break_, build.golden)
        assert f"block `twilio` {said}" in build(status=1)[1]
        assert build.sql('SELECT count(*) FROM "user"', build.golden) == [(0,)]
        build.sql(fix, build.golden)
    assert set(build.states().values()) == {"made"}


def test_hidden_rows_are_an_error(build, monkeypatch):
    """Rows that a policy hides are not reported as missing; verifying does not need CREATEDB."""
    build.migrate()
    build()
    role = f"plain_{secrets.token_hex(4)}"
    build.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'p@ss'")
    try:
        everything = "ALL TABLES IN SCHEMA public"
        build.sql(f"GRANT ALL ON {everything} TO {role}", build.golden)
        address = build.repository.url.rpartition("@")[2]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://{role}:p%40ss@{address}")
        assert build.data(task="golden.verify")["usable"]
        policy = "CREATE POLICY p ON contact_note FOR INSERT WITH CHECK (true)"
        build.sql(f"ALTER TABLE contact_note ENABLE ROW LEVEL SECURITY; {policy}", build.golden)
        for task in ("golden.build", "golden.verify"):
            said = build(task=task, status=1)[1]
            assert f"row-level security hides rows in `{build.golden}`" in said
        assert build.sql("SELECT count(*) FROM contact_note", build.golden) == [(2,)]
        monkeypatch.setenv("WORKTREE_TEMPLATE_DB", f"{build.golden}_new")
        assert f"role `{role}` may not create databases" in build("--dry-run", status=1)[1]
    finally:
        build.sql(f"DROP OWNED BY {role}", build.golden)
        build.sql(f"DROP ROLE {role}")


def test_numbers_of_another_organization_are_skipped(build, stand_in):
    """If another organization has all numbers of the account, they stay there, and the block is skipped."""
    build.seed(stand_in)
    build.migrate()
    build()
    build.sql(
        "INSERT INTO organization (name, slug) VALUES ('Other', 'other');"
        "INSERT INTO organization_twilio_settings (organization_id, account_sid, auth_token)"
        " SELECT id, 'AC' || repeat('9', 32), 'x' FROM organization WHERE slug = 'other';"
        "UPDATE phone_number SET ai_agent_id = NULL, routing_mode = 'staff', organization_id ="
        " (SELECT id FROM organization WHERE slug = 'other')",
        build.golden,
    )
    answer, _ = build()
    assert re.search(r"numbers +skipped +those of AC5+ are all another organization's", answer)
    assert re.search(r"text-reply +skipped +needs numbers", answer)
    assert "✗ phone numbers" in build(task="golden.verify", status=1)[0]


@pytest.mark.parametrize("kind", ["quote", "link", "directory", "pipe"])
def test_unreadable_seed_env_is_an_error(build, kind):
    """A line that cannot be parsed, or anything other than a regular file, is an error, not skipped."""
    file = build.path / "seed.env"
    match kind:
        case "quote":
            file.write_text("A=1\nTWILIO_WORKTREE_SUBACCOUNT_SID='AC5\nSTRIPE_SECRET_KEY='sk_test_canary-1\n")
        case "link":
            file.symlink_to("nowhere")
        case "directory":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
    said = build.refuses()
    assert ("line 2 of `" if kind == "quote" else "is not a regular file") in said


def test_golden_without_connections_is_an_error(build):
    """The error says that golden accepts no connections."""
    build.migrate()
    build.sql(f'ALTER DATABASE "{build.golden}" ALLOW_CONNECTIONS false')
    for task in ("golden.build", "golden.verify"):
        assert f"the golden template `{build.golden}` accepts no connections" in build.refuses(task=task)
