"""SQLite's locks belong to a process, which loses them all where it opens and closes the file by itself."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

from tasks_lib.ledger.ledger import Ledger
from tests import forks

OTHER = """
import json, sys
from pathlib import Path
from tasks_lib.ledger.ledger import Ledger

ledger = Ledger.on_sqlite(Path(sys.argv[1]))
with ledger.write() as tx:
    tx.initiatives.create(name="other")
with ledger.read() as tx:
    print(json.dumps([one.name for one in tx.initiatives.find_all()]))
ledger.engine.dispose()
"""


def test_a_ledger_that_is_opened_twice_in_a_process(tmp_path):
    """What it writes then is there for others, who must not take themselves for the last one and clear up."""
    place = tmp_path / "ledger.db"

    def other():
        status, said, errors = forks.python(OTHER, place).wait()
        assert status == 0, errors
        return json.loads(said)

    ledgers = []
    for name in ("first", "second"):
        ledgers.append(ledger := Ledger.on_sqlite(place))
        with ledger.write() as tx:
            tx.initiatives.create(name=name)
    assert other() == ["first", "second", "other"]
    for ledger in ledgers:
        with ledger.write() as tx:
            tx.initiatives.create(name="again")
    assert other() == ["first", "second", "other", "again", "again", "other"]
    for ledger in ledgers:
        ledger.engine.dispose()


WRITER = """
import os, signal, sys
from pathlib import Path
from tasks_lib.ledger.ledger import Ledger

with Ledger.on_sqlite(Path(sys.argv[1])).write():
    print("writing", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_writer_names_the_process_that_it_waits_for(tmp_path, monkeypatch, capsys):
    """A process that is stopped in the middle of a transaction keeps the lock of the whole ledger."""
    monkeypatch.setattr("tasks_lib.waits.QUIET_SECONDS", 0.05)
    place = tmp_path / "ledger.db"
    ledger = Ledger.on_sqlite(place)
    writer = forks.python(WRITER, place)
    writer.read_line()
    threading.Timer(1, os.kill, [writer.pid, signal.SIGCONT]).start()
    with ledger.write() as tx:
        tx.initiatives.create(name="after it")
    assert writer.wait()[0] == 0
    ledger.engine.dispose()
    if Path("/proc/locks").exists():
        said = capsys.readouterr().err
        assert f"waiting up to 10 s for process {writer.pid} (stopped), which writes to the ledger `{place}`" in said
        assert said.endswith(f"kill -CONT {writer.pid}\n")
