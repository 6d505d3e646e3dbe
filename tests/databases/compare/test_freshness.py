"""Freshness: what proves that golden is what it was, and that no proof is ever wrong."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import psycopg
import pytest

from tasks_lib.databases.compare import freshness
from tasks_lib.databases.ownership.golden_template import require_golden

pytestmark = pytest.mark.every_major

SCRIPT = r"""
CREATE TABLE t AS SELECT 1 AS i; CREATE UNLOGGED TABLE u AS SELECT 1 AS i;
CREATE SEQUENCE s; SELECT nextval('s'); SELECT lo_from_bytea(4711, '\xcafe');
"""


@pytest.fixture
def golden(place):
    return place.golden(SCRIPT)


@pytest.fixture
def large(monkeypatch):
    """Take every golden template for a large one, of which more is worth proving."""
    monkeypatch.setattr(freshness, "SMALL_BYTES", 0)


def examine(place, golden, *, server=None):
    server = server or place.server
    with server.connect() as connection:
        described = require_golden(connection, golden)
    asked = freshness.read_baseline(place.admin, described.oid)
    return freshness.read_current_fingerprint(place.source(golden, server=server), described, asked)


def how(place, golden, *, server=None):
    """Examine *golden* after a transaction has ended somewhere else, and return what told."""
    place.admin.execute("SELECT pg_current_xact_id()")
    seen = examine(place, golden, server=server)
    assert seen.found == place.fingerprint(golden)
    return seen.how


def by_counters(place):
    """Before 15, counters could get lost on their way."""
    return "counters" if place.admin.info.server_version >= 150_000 else "fingerprint"


# --- what tells ----------------------------------------------------------------------------------------


def test_unchanged_server_reads_golden_once(place, golden, eventually):
    """The first look reads everything; while no transaction ends on the server, that stays true."""
    first = examine(place, golden)
    assert first.how == "fingerprint"
    # Autovacuum's transactions are some, too.
    eventually(lambda: examine(place, golden).how == "transactions")

    assert examine(place, golden).found == first.found == place.fingerprint(golden)


def test_writes_elsewhere_read_golden_again(place, golden):
    """A transaction in another database is a reason to look again, and to find the same."""
    first = examine(place, golden)

    assert how(place, golden) == "fingerprint"
    assert examine(place, golden).found == first.found


def test_large_golden_with_idle_sessions_is_read_once(place, golden, large, eventually):
    """A large one is not read again when its sessions were idle and its counters stand still."""
    with place.connect(golden) as session:
        session.execute("SELECT * FROM t")
        eventually(lambda: how(place, golden) == by_counters(place))


@pytest.mark.parametrize("doing", ["SELECT 1", "BEGIN; SELECT 1"])
def test_sessions_in_transactions_prove_nothing(place, golden, large, doing):
    """A session that is in a transaction, or was since the last look, may have written: everything is read."""
    with place.connect(golden) as session:
        examine(place, golden)
        session.execute(doing)
        assert how(place, golden) == "fingerprint"


@pytest.fixture
def owner(place):
    return place.role()


def test_owner_can_use_both_proofs(place, owner, large, eventually):
    """Both proofs are open to golden's owner; of other roles' sessions it sees too little to trust them."""
    golden = place.golden(owner=owner)
    server = place.as_role(owner)
    # What a session has written that stays is counted seconds later.
    with place.connect(golden, user=owner, password=owner) as session:
        session.execute("CREATE SCHEMA app; CREATE TABLE app.t AS SELECT 1 AS i")
    with place.connect(golden, user=owner, password=owner):
        eventually(lambda: examine(place, golden, server=server).how == "transactions")
        eventually(lambda: how(place, golden, server=server) == by_counters(place))
        with place.connect(golden):
            examine(place, golden, server=server)
            assert how(place, golden, server=server) == "fingerprint"


def test_sessions_without_counters_prove_nothing(place, golden, large):
    """Where golden's sessions do not count what they write, the counters prove nothing."""
    place.run("ALTER DATABASE {} SET track_counts = off", golden)
    first = examine(place, golden)
    assert how(place, golden) == "fingerprint"
    place.execute(golden, "UPDATE t SET i = i")

    assert examine(place, golden).found.digest != first.found.digest
    assert how(place, golden) == "fingerprint"


# --- soundness: each of these happens between two looks --------------------------------------------------


def wrote_and_left(place, golden):
    yield
    place.execute(golden, "INSERT INTO t VALUES (2)")
    yield


def wrote_and_stays(place, golden):
    with place.connect(golden) as session:
        # Counted at once, and the next ones up to ten seconds later.
        session.execute("INSERT INTO t VALUES (2)")
        yield
        session.execute("INSERT INTO t VALUES (3)")
        yield


def committed_later(place, golden):
    with place.connect(golden) as session:
        session.execute("BEGIN; INSERT INTO t VALUES (2)")
        yield
        session.execute("COMMIT")
        yield


def committed_later_and_left(place, golden):
    with place.connect(golden) as session:
        session.execute("BEGIN; INSERT INTO t VALUES (2)")
        yield
        session.execute("COMMIT")
    yield


def truncated(place, golden):
    yield
    place.execute(golden, "TRUNCATE t")
    yield


def wrote_what_is_not_logged(place, golden):
    yield
    place.execute(golden, "UPDATE u SET i = i")
    yield


def wrote_a_large_object(place, golden):
    yield
    place.execute(golden, r"SELECT lo_put(4711, 0, '\x00')")
    yield


def took_a_number(place, golden):
    yield
    place.execute(golden, "SELECT nextval('s')")
    yield


def set_a_sequence(place, golden):
    yield
    place.execute(golden, "SELECT setval('s', 500, false)")
    yield


def changed_a_setting(place, golden):
    yield
    place.run("ALTER DATABASE {} SET search_path = a, public", golden)
    yield


def reset_the_counters(place, golden):
    # To the same number again.
    for statement in ("INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)"):
        place.execute(golden, "SELECT pg_stat_reset()")
        place.execute(golden, statement)
        yield


def made_anew(place, golden):
    yield
    place.run("DROP DATABASE {} WITH (FORCE)", golden)
    place.golden(SCRIPT, name=golden)
    yield


@pytest.mark.parametrize(
    "happens",
    [
        wrote_and_left,
        wrote_and_stays,
        committed_later,
        committed_later_and_left,
        truncated,
        wrote_what_is_not_logged,
        wrote_a_large_object,
        took_a_number,
        set_a_sequence,
        changed_a_setting,
        reset_the_counters,
        made_anew,
    ],
)
def test_every_change_of_golden_is_seen(place, golden, large, happens):
    """Any change to golden, by any client, gives a new fingerprint."""
    before, after = [examine(place, golden) for _ in happens(place, golden)]

    assert after.found.digest == place.fingerprint(golden).digest
    assert after.found.digest != before.found.digest


def test_writes_of_another_role_are_seen(place, owner, large):
    """What a superuser's session writes is seen by an ordinary role, who may not see what that session does."""
    golden = place.golden("CREATE TABLE t AS SELECT 1 AS i; GRANT SELECT ON t TO PUBLIC", owner=owner)
    server = place.as_role(owner)
    for happens in (wrote_and_stays, wrote_and_left):
        before, after = [examine(place, golden, server=server) for _ in happens(place, golden)]
        assert after.found.digest == place.fingerprint(golden).digest != before.found.digest


def test_commit_of_prepared_transaction_is_seen(own, large):
    """A prepared transaction that is committed after the first look is seen, although its session is long gone."""
    golden = own.golden(SCRIPT)
    own.execute(golden, "BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'later'")
    before = examine(own, golden)
    own.execute(golden, "COMMIT PREPARED 'later'")
    after = examine(own, golden)

    assert after.found.digest == own.fingerprint(golden).digest != before.found.digest


def test_pending_prepared_transaction_rules_out_the_counters(own, large, eventually):
    """Whatever the counters say: the transaction can be committed without a session of its own."""
    golden = own.golden(SCRIPT)
    eventually(lambda: how(own, golden) == by_counters(own))
    own.execute(golden, "BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'pending'")
    try:
        assert [how(own, golden) for _ in range(20)] == ["fingerprint"] * 20
    finally:
        own.execute(golden, "ROLLBACK PREPARED 'pending'")


@pytest.fixture
def proof(place, golden, large, eventually):
    """Give a function that looks for a proof between two baselines, the second as if a transaction had ended since."""
    if place.admin.info.server_version < 150_000:
        pytest.skip("counters prove nothing before PostgreSQL 15")
    eventually(lambda: how(place, golden) == "counters")
    with place.server.connect(golden) as connection:
        described = require_golden(connection, golden)
        now = freshness.read_baseline(connection, described.oid)

        def find(**before):
            return freshness._find_proof(connection, described, replace(now, transactions="before", **before), now)

        assert find() == "counters"
        yield find


def test_counters_of_before_a_restart_prove_nothing(proof):
    """A crash resets them; the same number of rows may have been written since."""
    assert proof(epoch="before the restart") is None


def test_write_between_two_reads_of_the_counters_is_seen(place, golden, proof, eventually):
    """A session that wrote and left after the first read is found in the second one."""
    oid = place.oid(golden)
    written = freshness.read_baseline(place.admin, oid).writes
    place.execute(golden, "INSERT INTO t VALUES (2)")
    eventually(lambda: freshness.read_baseline(place.admin, oid).writes > written)
    assert proof() is None


def answers(ask, *question):
    try:
        return ask(*question)
    except psycopg.OperationalError:
        return None


def test_crash_of_the_server_is_seen(own, large, eventually):
    """A crash empties unlogged tables and moves neither transactions nor counters; the fingerprint is the new one."""
    seed, golden = own.golden(SCRIPT), "never_written_to"
    own.run("CREATE DATABASE {} TEMPLATE {}", golden, seed)
    before = examine(own, golden)
    eventually(lambda: examine(own, golden).how == "transactions")
    with own.connect("postgres") as bystander:
        os.kill(own.admin.info.backend_pid, signal.SIGKILL)
        # Until the server has noticed, it lets people in.
        eventually(lambda: not answers(bystander.execute, "SELECT 1"))
    eventually(lambda: answers(own.rows, "postgres", "SELECT 1"))
    with own.server.connect() as own.admin:
        assert own.rows(golden, "SELECT * FROM u") == []
        assert examine(own, golden).found.digest == own.fingerprint(golden).digest != before.found.digest


# --- what is remembered ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "null", "7", "[]", '"text"', "{}", '{"oid": 1}', "\xff\x00"])
def test_damaged_cache_file_is_ignored(place, golden, text):
    """A file that is foreign or incomplete is ignored: everything is read and cached again."""
    first = examine(place, golden)
    (remembered,) = place.folder.glob("fingerprint-*.json")
    remembered.write_bytes(text.encode("latin-1"))
    seen = examine(place, golden)

    assert (seen.how, seen.found) == ("fingerprint", first.found)
    assert json.loads(remembered.read_text())["digest"] == first.found.digest


@pytest.mark.parametrize("foreign", [{"epoch": "another server"}, {"transactions": "1:1:"}, {"oid": 1}])
def test_cached_fingerprint_of_another_database_is_ignored(place, golden, foreign):
    """What was remembered of another server, another moment or another database is not golden's fingerprint."""
    first = examine(place, golden)
    (remembered,) = place.folder.glob("fingerprint-*.json")
    remembered.write_text(json.dumps({**json.loads(remembered.read_text()), "digest": "0" * 64, **foreign}))

    assert examine(place, golden).found == first.found


def test_lock_of_a_migration_keeps_the_cached_fingerprint(place, golden):
    """Behind a migration's lock golden is being changed: no fingerprint, at once, and the one before is not lost."""
    first = examine(place, golden)
    with place.connect(golden) as migration:
        migration.execute("BEGIN")
        migration.execute("ALTER TABLE t ADD COLUMN j int")
        found = examine(place, golden).found
        migration.execute("ROLLBACK")

    assert found.digest == ""
    assert found.obstacle == "it is being changed (canceling statement due to lock timeout)"
    assert examine(place, golden).found == first.found


def test_later_findings_of_others_are_shared(place):
    """What another process found after we had asked is ours too; what it found before is not."""
    golden = place.golden("CREATE TABLE t (i int)")
    described = require_golden(place.admin, golden)
    early = freshness.read_baseline(place.admin, described.oid)
    place.execute(golden, "INSERT INTO t VALUES (1)")
    other = examine(place, golden)
    place.execute(golden, "INSERT INTO t VALUES (2)")
    late = freshness.read_baseline(place.admin, described.oid)
    source = place.source(golden)

    assert freshness.read_current_fingerprint(source, described, early) == freshness.Freshness(other.found, "shared")
    own = freshness.read_current_fingerprint(source, described, late)
    assert own.how == "fingerprint"
    assert own.found.digest != other.found.digest
    elsewhere = replace(early, epoch="another server's")
    assert freshness.read_current_fingerprint(source, described, elsewhere).how != "shared"
