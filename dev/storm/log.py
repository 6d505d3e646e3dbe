"""The log of a storm: every call, what the weather did, and what was wrong."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_QUOTED = re.compile(r"`[^`]*`")
_PATH = re.compile(r"(?<!\w)/[\w./+-]+")
_NUMBER = re.compile(r"\b(?:0x)?\d[\d.,:]*\b")


@dataclass(frozen=True)
class Call:
    """
    One command that ran.

    Attributes:
        worker: Who ran it: a number, or the name of a part of the verdict.
        command: Its arguments.
        elsewhere: Whether it ran in the other PID namespace.
        began: Seconds since the storm began.
        seconds: How long it ran.
        status: Its exit status, negative for a signal.
        blow: `kill` or `stop` if it was hit, or empty.
        stdout: What it answered.
        stderr: What it reported.
    """

    worker: str
    command: tuple[str, ...]
    elsewhere: bool
    began: float
    seconds: float
    status: int
    blow: str
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The error that it ended with, hint included; empty if there is none."""
        begin = f"\n{self.stderr}".rfind("\nerror: ")
        return self.stderr[begin:].strip() if begin >= 0 else ""

    @property
    def kind(self) -> str:
        """The error without names, paths and numbers, so that equal errors are counted together."""
        text = _QUOTED.sub("`…`", self.error)
        return " ".join(_NUMBER.sub("N", _PATH.sub("/…", text)).split())[:300]


@dataclass
class Log:
    """What has happened so far. Any thread may add to it."""

    file: Path
    calls: list[Call] = field(default_factory=list)
    weather: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_call(self, call: Call) -> None:
        """Add *call*, also to the file."""
        with self._lock:
            self.calls.append(call)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(call)) + "\n")

    def add_weather(self, what: str) -> None:
        """Count *what* the weather did."""
        with self._lock:
            self.weather[what] += 1

    def add_fault(self, fault: str) -> None:
        """Add a *fault*, once."""
        with self._lock:
            if fault not in self.faults:
                self.faults.append(fault)

    def progress(self) -> str:
        """Return one line about what has happened so far."""
        done = Counter("ok" if call.status == 0 else "refused" if call.status == 1 else "hit" for call in self.calls)
        weather = ", ".join(f"{count} {what}" for what, count in sorted(self.weather.items()))
        return (
            f"{len(self.calls)} calls: {done['ok']} ok, {done['refused']} refused, {done['hit']} ended by a signal; "
            f"weather: {weather or 'none yet'}; faults: {len(self.faults)}"
        )

    def summary(self) -> Iterator[Table | str]:
        """Yield the tables of calls, of the weather and of errors."""
        yield self._calls_table()
        weather = Table("event", "times", title="weather")
        for what, count in sorted(self.weather.items()):
            weather.add_row(what, str(count))
        yield weather
        yield from self._errors()

    def _calls_table(self) -> Table:
        table = Table(title="calls")
        for heading in ("command", "calls", "status 0", "status 1", "other status", "killed", "stopped", "longest"):
            table.add_column(heading, justify="left" if heading == "command" else "right")
        names = sorted({call.command[0] for call in self.calls})
        for name in [*names, "all"]:
            calls = [call for call in self.calls if name in {"all", call.command[0]}]
            status = Counter(call.status if call.status in {0, 1} else "other" for call in calls)
            blows = Counter(call.blow for call in calls)
            longest = max((call.seconds for call in calls), default=0.0)
            numbers = (len(calls), status[0], status[1], status["other"], blows["kill"], blows["stop"])
            table.add_row(name, *map(str, numbers), f"{longest:.1f} s", end_section=[name] == names[-1:])
        return table

    def _errors(self) -> Iterator[str]:
        kinds = Counter(call.kind for call in self.calls if call.error)
        yield f"errors by kind: {len(kinds)}"
        for kind, count in kinds.most_common():
            example = next(call for call in self.calls if call.kind == kind)
            commands = sorted({call.command[0] for call in self.calls if call.kind == kind})
            yield f"\n{count} times ({', '.join(commands)}), such as:\n{example.error}"
