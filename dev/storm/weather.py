"""The weather of a storm: what happens to the server and to the disks."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from dev.storm.log import Log
    from dev.storm.stage import Stage

PAUSE = (0.3, 2.5)
"""Seconds between two events, and how long something stays stopped or full."""


class Weather:
    """Kills and stops backends and the postmaster, and fills the disks for moments."""

    def __init__(self, seed: int, stage: Stage, log: Log) -> None:
        self.stage = stage
        self.log = log
        self.random = random.Random(f"{seed}-weather")  # noqa: S311 - it chooses what breaks
        self.events: dict[Callable[[], str], int] = {
            self.kill_backend: 4,
            self.stop_backend: 4,
            self.stop_postmaster: 3,
            self.kill_postmaster: 1,
        }
        if stage.disks:
            self.events[self.fill_disk] = 4

    def run(self, stop: threading.Event) -> None:
        """Let something happen every few seconds until *stop*."""
        while not stop.wait(self.random.uniform(*PAUSE)):
            (event,) = self.random.choices(list(self.events), list(self.events.values()))
            with suppress(psutil.Error):
                if what := event():
                    self.log.add_weather(what)

    def watch(self, stop: threading.Event) -> None:
        """Look for a second server on the same data until *stop*."""
        while not stop.wait(1):
            if len(servers := self.stage.postmasters()) > 1:
                time.sleep(0.2)  # one that has just been started gives up by itself when it finds the other
                if len(servers := self.stage.postmasters()) > 1:
                    self.log.add_fault(f"{len(servers)} servers run on one data directory")

    def kill_backend(self) -> str:
        """Kill a process of the server, which then restarts all of its sessions."""
        for backend in self._backends():
            backend.kill()
            return "backend killed"
        return ""

    def stop_backend(self) -> str:
        """Let one session hang for a moment."""
        for backend in self._backends():
            self._rest(backend)
            return "backend stopped"
        return ""

    def stop_postmaster(self) -> str:
        """Let the server accept connections and not answer."""
        for postmaster in self.stage.postmasters():
            self._rest(postmaster)
            return "postmaster stopped"
        return ""

    def kill_postmaster(self) -> str:
        """Kill the server; its sessions live on for a moment."""
        for postmaster in self.stage.postmasters():
            postmaster.kill()
            return "postmaster killed"
        return ""

    def fill_disk(self) -> str:
        """Leave no room on the server's disk or on that of the worktrees and the git directory."""
        disk = self.random.choice(self.stage.disks)
        fill(disk / "fill")
        time.sleep(self.random.uniform(*PAUSE))
        (disk / "fill").unlink()
        return f"{disk.name} disk full"

    def _backends(self) -> list[psutil.Process]:
        """Return the server's sessions in random order, or other processes of it where there are none."""
        children = [child for postmaster in self.stage.postmasters() for child in postmaster.children()]
        sessions = [child for child in children if "127.0.0.1" in " ".join(child.cmdline())]
        chosen = sessions or children
        return self.random.sample(chosen, len(chosen))

    def _rest(self, process: psutil.Process) -> None:
        process.suspend()
        try:
            time.sleep(self.random.uniform(*PAUSE))
        finally:
            process.resume()


def fill(file: Path) -> None:
    """Write *file* until its disk has no room."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        size, step = 0, 1 << 30
        while step >= 4096:
            try:
                os.posix_fallocate(descriptor, size, step)
                size += step
            except OSError:
                step //= 2
    finally:
        os.close(descriptor)
