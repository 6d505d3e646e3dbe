"""
Run the benchmark and write it to docs/bench.

usage: python -m bench.run [--quick] [--runs N]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import goldens, report, rivals
from bench.copies import measure_copies, measure_parts
from bench.ledger import measure_ledger
from bench.processes import measure_commands
from bench.servers import file_systems, postgres_versions, running
from bench.sessions import SESSIONS
from tasks_lib.databases.server.embedded.cluster import open_to_pass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.report import Row
    from bench.rivals import Tool
    from bench.servers import FileSystem, Target
    from tasks_lib.databases.server.binaries import Binaries

    Server = tuple[Binaries, FileSystem]

GOLDEN = "loquent_latest"
DOCS = Path(__file__).resolve().parents[1] / "docs" / "bench"

SIZES = {17: 1.0, 200: 0.3, 1024: 0.3}
"""Goldens in megabytes, and the share of the rounds that each gets: the shell pipeline needs 20 s for the last."""

_STARTED = time.monotonic()


def main() -> None:
    """Measure, print the page, and write it with its plot unless it was a quick run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="17 MB on one server, three rounds, nothing is written")
    parser.add_argument("--runs", type=int, help="rounds of the 17 MB golden (default: 7, quick: 3); others get fewer")
    chosen = parser.parse_args()
    runs = chosen.runs or (3 if chosen.quick else 7)
    # As Ctrl-C, so that servers stop and file systems are unmounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        scratch = Path(directory)
        open_to_pass(scratch)
        with file_systems(scratch) as (found, left_out):
            servers, sizes = _servers(found), list(SIZES)
            if chosen.quick:
                servers, sizes = servers[:1], sizes[:1]
            rows = list(_measure(servers, sizes, scratch, runs))
    text = report.page(rows, left_out)
    print(text)
    if chosen.quick:
        return
    report.plot(rows, DOCS / "clone.svg")
    (DOCS / "README.md").write_text(text, encoding="utf-8")
    _say(f"written to {DOCS}")


def _measure(servers: Sequence[Server], sizes: Sequence[int], scratch: Path, runs: int) -> Iterator[Row]:
    _say("installing DSLR and db-git")
    tools = rivals.install(scratch)
    for programs, place in servers:
        with running(programs, place) as target:
            goldens.create(target, GOLDEN)
            for megabytes in sizes:
                _say(f"{target.name}: {megabytes} MB")
                goldens.grow(target, GOLDEN, megabytes)
                yield from _measure_golden(target, tools, scratch, max(1, round(runs * SIZES[megabytes])))
    with running(*servers[0]) as target:
        _say(f"{target.name}: whole commands")
        goldens.create(target, GOLDEN)
        yield from measure_commands(target, GOLDEN, scratch, runs)
    _say("the ledger")
    yield from measure_ledger(scratch, runs)


def _measure_golden(target: Target, tools: Sequence[Tool], scratch: Path, rounds: int) -> Iterator[Row]:
    _say(f"  {SESSIONS} sessions connected, {rounds} rounds")
    yield from measure_copies(target, GOLDEN, tools, scratch, SESSIONS, rounds)
    _say("  the parts of a clone")
    yield from measure_parts(target, GOLDEN, scratch, rounds)
    _say("  no session connected")
    yield from measure_copies(target, GOLDEN, tools, scratch, 0, max(1, rounds // 2))


def _servers(places: Sequence[FileSystem]) -> list[Server]:
    """Return each PostgreSQL on the first place, and the newest on the others: what is older shares no blocks there."""
    versions = postgres_versions()
    return [*((programs, places[0]) for programs in versions), *((versions[0], place) for place in places[1:])]


def _say(text: str) -> None:
    print(f"{time.monotonic() - _STARTED:5.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
