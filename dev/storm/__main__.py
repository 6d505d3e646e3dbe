"""
Eight processes use goldentree at random while clients and the server are killed and disks fill up.

Afterwards, doctor's own cures must leave everything whole and nothing behind. Exits with 1 if anything is wrong; the
directory is then kept.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from rich.console import Console

from dev.storm.crew import WORKERS, Book, Worker
from dev.storm.log import Log
from dev.storm.stage import CONTENTS, GOLDEN, Stage
from dev.storm.verdict import Verdict
from dev.storm.weather import Weather

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRESS = 5.0
"""Seconds between two lines of progress."""


def main() -> int:
    """Run a storm and return the exit status."""
    parser = argparse.ArgumentParser(prog="nox -s storm --", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long commands are started (default: 120)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a run, but for its timing")  # noqa: S311
    chosen = parser.parse_args()
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with Ctrl-C ignored
        signal.signal(ending, signal.default_int_handler)
    stage = Stage()
    log = Log(stage.root / "calls.jsonl")
    print(f"seed {chosen.seed}, {chosen.seconds:.0f} seconds, in {stage.root}", flush=True)
    try:
        stage.set_up()
        for missing in stage.left_out:
            print(f"left out: {missing}")
        (contents,) = stage.sql(CONTENTS, database=GOLDEN)
        book = Book()
        storm(chosen.seed, chosen.seconds, stage, log, book)
        print("the storm is over: doctor's cures, then the verdict", flush=True)
        Verdict(stage, log, book, contents).reach()
    except KeyboardInterrupt:
        print("interrupted; nothing was judged", file=sys.stderr)
        stage.tear_down()
        return 130
    console = Console(width=None if sys.stdout.isatty() else 120)
    for part in log.summary():
        console.print(part, markup=False, highlight=False)
    for fault in log.faults:
        console.print(f"\nFAULT: {fault}", style="bold red", markup=False, highlight=False)
    if log.faults:
        stage.end_processes()
        undo = " && ".join([*(f"umount {disk}" for disk in stage.disks), f"rm -r {stage.root}"])
        print(f"\n{len(log.faults)} faults, seed {chosen.seed}. Every call is in {log.file}; delete it all by: {undo}")
        return 1
    stage.tear_down()
    print(f"\nno fault in {len(log.calls)} calls, seed {chosen.seed}")
    return 0


def storm(seed: int, seconds: float, stage: Stage, log: Log, book: Book) -> None:
    """Let workers and weather loose for *seconds*, and wait for the last commands; Ctrl-C ends all commands."""
    stop, calm = threading.Event(), threading.Event()
    weather = Weather(seed, stage, log)
    crew = [start(Worker(number, seed, stage, log, book).run, stop) for number in range(WORKERS)]
    sky = [start(run, calm) for run in (weather.run, weather.watch)]
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline or any(thread.is_alive() for thread in crew):
            if time.monotonic() >= deadline:
                stop.set()
                calm.set()
            time.sleep(PROGRESS)
            print(f"{max(0, deadline - time.monotonic()):4.0f} s left; {log.progress()}", flush=True)
    except KeyboardInterrupt:
        stage.end_processes()
        raise
    finally:
        stop.set()
        calm.set()
        for thread in [*crew, *sky]:
            thread.join()


def start(run: Callable[[threading.Event], None], stop: threading.Event) -> threading.Thread:
    """Start a thread that runs until *stop*."""
    thread = threading.Thread(target=run, args=(stop,), daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    sys.exit(main())
