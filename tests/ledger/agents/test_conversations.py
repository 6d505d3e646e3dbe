"""Questions between agents: who is asked, what waiting costs, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from tasks_lib.errors import ConflictError, LedgerError, NoTargetError, NotFoundError, TimedOutError
from tasks_lib.ledger.agents import conversations, logs, registration
from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.schema.agents import AgentStatus


@pytest.fixture
def agents(ledger):
    """Give the ids of four agents by name: one that asks, one that runs, two that are idle."""
    with ledger.write() as tx:
        made = {name: registration.register(tx, "r/main", name=name) for name in ("asker", "old", "idle", "busy")}
        tx.agents.update(made["busy"].id, status=AgentStatus.RUNNING)
    return {name: agent.id for name, agent in made.items()}


def later(function, *arguments):
    """Call *function* in a thread, once the waiting thread has begun; return the thread's future."""

    def run():
        time.sleep(0.3)
        return function(*arguments)

    pool = ThreadPoolExecutor(1)
    future = pool.submit(run)
    pool.shutdown(wait=False)
    return future


def asked(ledger, agents, whom="busy", question="why?"):
    with ledger.write() as tx:
        return conversations.ask(tx, agents["asker"], question, agent_id=agents[whom])


def write(ledger, function, *arguments):
    with ledger.write() as tx:
        return function(tx, *arguments)


def test_question_goes_to_active_agent(ledger, agents):
    """Who runs, then who is idle or waits for input, the last active first; never the asker, nor one that is gone."""
    with ledger.write() as tx:
        initiative = tx.initiatives.create(name="i")
        phase = tx.phases.create(initiative_id=initiative.id, name="p")
        task, other = (tx.tasks.create(phase_id=phase.id, name=name) for name in "tu")
        for name in ("old", "idle", "busy"):
            tx.agents.update(agents[name], task_id=task.id)
        tx.agents.update(agents["idle"])
        tx.agents.update(agents["asker"], task_id=other.id, status=AgentStatus.RUNNING)

        def target(**selector):
            return conversations.target(tx, agents["asker"], **selector).name

        assert target(task_id=task.id) == target(phase_id=phase.id) == "busy"
        registration.stop(tx, agents["busy"])
        assert target(task_id=task.id) == "idle"
        question = conversations.ask(tx, agents["asker"], "why?", phase_id=phase.id)
        assert (question.phase_id, question.task_id, question.initiative_id) == (phase.id, None, initiative.id)
        tx.agents.update(agents["idle"], status=AgentStatus.CRASHED)
        assert target(task_id=task.id) == "old"
        with pytest.raises(NoTargetError) as nobody:
            target(task_id=other.id)
        assert (nobody.value.status, nobody.value.why) == (4, "old is idle")
        with pytest.raises(NoTargetError, match="busy is stopped; old is idle"):
            target(agent_id=agents["busy"])
        with pytest.raises(NoTargetError):
            target(agent_id=agents["asker"])
        with pytest.raises(LedgerError, match="2 were passed"):
            target(agent_id=agents["old"], task_id=task.id)
        with pytest.raises(LedgerError, match="the question is empty"):
            conversations.ask(tx, agents["asker"], " \n", agent_id=agents["old"])


def test_an_agent_whose_process_died_is_not_asked(ledger, agents):
    """An agent whose pid is gone cannot be asked, and registering with such a pid is refused."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write(ledger, lambda tx: registration.register(tx, "r/main", name="busy", pid=process.pid))
    question = asked(ledger, agents)
    process.communicate()
    with pytest.raises(NoTargetError, match="agent `busy` is lost and has not answered"):
        conversations.wait(ledger, question.id)
    with pytest.raises(NoTargetError, match="busy is lost"):
        asked(ledger, agents)
    with pytest.raises(LedgerError, match="does not exist"):
        write(ledger, lambda tx: registration.register(tx, "r/main", pid=process.pid))


@pytest.fixture
def only_woken(monkeypatch):
    """Let no wait look by itself, and fail where one has slept until its 30 seconds were over."""
    monkeypatch.setattr(conversations, "LOOK_SECONDS", 1000)
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 30


@pytest.mark.usefixtures("only_woken")
def test_listening_returns_pending_questions(ledger, agents):
    """What was asked before is there at once, what comes later wakes; what is answered does not come again."""
    first = asked(ledger, agents)
    assert [question.id for question in conversations.listen(ledger, agents["busy"], 0)] == [first.id]
    write(ledger, conversations.answer, first.id, "because")
    with pytest.raises(TimedOutError) as timed_out:
        conversations.listen(ledger, agents["busy"], 0.05)
    assert timed_out.value.status == 5
    second = later(asked, ledger, agents)
    assert [question.id for question in conversations.listen(ledger, agents["busy"], 30)] == [second.result().id]
    stopped = later(write, ledger, registration.stop, agents["old"])
    with pytest.raises(ConflictError, match="agent `old` is stopped"):
        conversations.listen(ledger, agents["old"], 30)
    stopped.result()


@pytest.mark.usefixtures("only_woken")
def test_a_question_is_answered_once(ledger, agents):
    """The waiting agent gets the answer; of two concurrent answers one wins, and the other error quotes it."""
    question = asked(ledger, agents)
    with ThreadPoolExecutor(2) as pool:
        both = [later(write, ledger, conversations.answer, question.id, text) for text in ("yes", "no")]
        found = pool.submit(conversations.wait, ledger, question.id, 30).result()
    errors = [error for future in both if (error := future.exception())]
    assert found.answer in ("yes", "no")
    [error] = errors
    assert isinstance(error, ConflictError)
    assert error.why == f"with: {found.answer}"
    with pytest.raises(LedgerError, match="the answer is empty"):
        write(ledger, conversations.answer, asked(ledger, agents).id, " ")


def test_a_wait_ends_with_the_one_who_was_asked(ledger, agents, monkeypatch):
    """Stopped: at once, and the question stays; deleted: the question is gone as well."""
    monkeypatch.setattr(conversations, "LOOK_SECONDS", 0.1)
    question = asked(ledger, agents)
    stopped = later(write, ledger, registration.stop, agents["busy"])
    with pytest.raises(NoTargetError, match="agent `busy` is stopped and has not answered"):
        conversations.wait(ledger, question.id, 30)
    stopped.result()
    with ledger.read() as tx:
        assert tx.conversations.require(question.id).answer is None
    question = asked(ledger, agents, "idle")
    deleted = later(write, ledger, lambda tx: tx.agents.delete(agents["idle"]))
    with pytest.raises(NotFoundError, match=r"conversation .* does not exist"):
        conversations.wait(ledger, question.id, 30)
    deleted.result()


def test_a_wait_holds_nothing(ledger, agents):
    """No transaction is open while it sleeps, however often it was woken; at its end no connection is left."""
    question = asked(ledger, agents)
    woken = threading.Event()

    def disturb():
        for _ in range(50):
            asked(ledger, agents, "idle")
        woken.set()
        with ledger.engine.connect() as connection:
            time.sleep(0.3)
            if connection.dialect.name == "postgresql":
                idle = sa.text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
                )
                busy = connection.scalar(idle)
            else:
                # A reader would keep the log from being emptied.
                connection.connection.driver_connection.execute("PRAGMA busy_timeout = 0")
                busy = connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        write(ledger, conversations.answer, question.id, "because")
        return busy

    disturbed = later(disturb)
    assert conversations.wait(ledger, question.id, 30).answer == "because"
    assert woken.is_set()
    assert disturbed.result() == 0
    assert ledger.engine.pool.checkedout() == 0


def test_a_wait_whose_server_goes_away(postgres_parameters):
    """PostgreSQL's end of a wait is an error that says so, without a password."""
    ledger = Ledger.on_postgres(postgres_parameters, "the test's database")
    with ledger.write() as tx:
        me = registration.register(tx, "r/main")

    def terminate():
        with psycopg.connect(**postgres_parameters, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")

    ended = later(terminate)
    with pytest.raises(LedgerError, match="the ledger can no longer be watched") as lost:
        conversations.listen(ledger, me.id, 30)
    ended.result()
    ledger.engine.dispose()
    assert postgres_parameters.get("password", "?") not in str(lost.value)


def test_a_log_is_followed(ledger, agents):
    """Chunks come in their order, page after page, then as they are appended; bytes that are not text are replaced."""
    heard, said = os.pipe()
    with ledger.read() as tx:
        busy = tx.agents.require(agents["busy"])
    greeting = "grüße".encode()
    os.write(said, greeting[:5])  # in the midst of a character
    appended = logs.append(ledger, busy, 1, heard)
    assert next(appended).content == "grü"
    os.write(said, greeting[5:] + b"\0\xff")
    os.close(said)
    assert [chunk.content for chunk in appended] == ["ße\ufffd\ufffd"]
    os.close(heard)
    with ledger.write() as tx:
        for number in range(2 * logs.PAGE):
            tx.log_chunks.insert_chunk(busy.id, busy.name, 2, f"{number}\n")
    assert [chunk.content for chunk in logs.read(ledger, busy.id, 2)] == [f"{n}\n" for n in range(2 * logs.PAGE)]
    following = logs.read(ledger, busy.id, follow=True)
    everything = [next(following).content for _ in range(2 * logs.PAGE)]
    more = later(write, ledger, lambda tx: tx.log_chunks.insert_chunk(busy.id, busy.name, 3, "last"))
    while everything[-1] != "last":
        everything.append(next(following).content)
    more.result()
    following.close()
    assert "".join(everything).startswith("grüße\ufffd\ufffd0\n1\n")
    assert ledger.engine.pool.checkedout() == 0
