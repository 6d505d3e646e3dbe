"""SQLite's locks belong to a process, which loses them all where it opens and closes the file by itself."""

from __future__ import annotations

import json

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
