"""
Write what was measured: a page of tables, ratios first, and a plot.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
from itertools import groupby
from typing import TYPE_CHECKING

from bench import rivals
from bench.copies import Copy, Part
from bench.ledger import Figure
from bench.ours import CURRENT, STALE
from bench.processes import Command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from bench.timing import Times

Row = Copy | Part | Command | Figure

_NEUTRAL = "#7d8590"
"""A grey that can be read on GitHub's white and on its black."""

_LINES = {
    rivals.SEED: "#e5534b",
    "db-git": "#c69026",
    "dslr": "#986ee2",
    rivals.FLOOR: _NEUTRAL,
    STALE: "#4493f8",
    CURRENT: "#2da44e",
}
"""What is plotted, and in which colour, of a golden in use."""


_PREFACE = """\
Written by `python3 -m nox -s bench`: all of it in one run, the ways of each table in turn (A B A B). A ratio is the
median over the rounds. Servers run with their defaults, fsync on; what is dropped in between is not timed.
"""


def page(rows: Sequence[Row], left_out: Sequence[str]) -> str:
    """Return the page, in Markdown; *left_out* says what could not be measured here, and why."""
    copies = [row for row in rows if isinstance(row, Copy)]
    parts = [row for row in rows if isinstance(row, Part)]
    commands = [row for row in rows if isinstance(row, Command)]
    figures = [row for row in rows if isinstance(row, Figure)]
    return "\n".join(
        [
            "# Benchmark",
            "",
            _PREFACE,
            f"{_machine()}.",
            *(f"{line}." for line in left_out),
            "",
            "![Time to copy a golden template in use, by its size](clone.svg)",
            "",
            *_copy_tables(copies),
            "## The parts of a clone",
            "",
            "Of a golden with three sessions connected.",
            "",
            *_table(("against 1 clone", "PostgreSQL", "golden", "what", *_TIMES), map(_part, parts)),
            "## Whole commands",
            "",
            "From the start of the process to its end, on the 17 MB golden with three sessions connected.",
            "",
            *_table(("faster", "than", "command", *_TIMES), map(_command, commands)),
            "## The ledger",
            "",
            "On SQLite, on the file system of temporary files. Each claim is a transaction of its own.",
            "",
            *_table(("median", "least to most", "target", "what"), map(_figure, figures)),
        ]
    )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the time to copy a golden in use by its size, a panel for each server, and write it to *path* as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same figures give the same file; letters stay text.
    mpl.rcParams.update({"svg.hashsalt": "goldentree", "svg.fonttype": "none", "font.size": 9})
    for part in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"):
        mpl.rcParams[part] = _NEUTRAL
    from matplotlib import pyplot as plt

    used = [row for row in rows if isinstance(row, Copy) and row.sessions and row.times.by_round]
    places = list(dict.fromkeys(row.place for row in used))
    figure, panels = plt.subplots(
        1, len(places), figsize=(1 + 3 * len(places), 4), sharey=True, squeeze=False, layout="constrained"
    )
    for place, axes in zip(places, panels[0], strict=True):
        _draw(axes, place, [row for row in used if row.place == place])
    panels[0][0].set_ylabel("seconds")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})


def _draw(axes: Axes, place: str, rows: Iterable[Copy]) -> None:
    measured = list(rows)
    for way, colour in _LINES.items():
        points = [(row.megabytes, row.times.median) for row in measured if row.way == way]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, label=way)
    sizes = sorted({row.megabytes for row in measured})
    axes.set(title=f"PostgreSQL {place}", xlabel="golden, in use", xscale="log", yscale="log")
    axes.set_xticks(sizes, [f"{size} MB" for size in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


_TIMES = ("median ms", "least to most ms", "rounds", "")
"""The columns that `_times` gives; the last is for remarks."""


def _copy_tables(copies: Iterable[Copy]) -> Iterator[str]:
    for place, in_place in groupby(copies, key=lambda row: row.place):
        yield from (f"## PostgreSQL {place}", "")
        for (megabytes, sessions), rows in groupby(in_place, key=lambda row: (row.megabytes, row.sessions)):
            users = f"{sessions} sessions connected" if sessions else "no session connected"
            yield from (f"### Golden of {megabytes} MB, {users}", "")
            yield from _table(("faster than the seed", "time to the floor's", "way", *_TIMES), map(_copy, rows))


def _copy(row: Copy) -> tuple[str, ...]:
    remark = f"ends {row.ended} sessions" if row.ended else ""
    slower = row.floor.faster_than(row.times)
    return (_ratio(row.times.faster_than(row.seed)), _ratio(slower), row.way, *_times(row.times, remark))


def _part(row: Part) -> tuple[str, ...]:
    slower = row.base.faster_than(row.times) if row.base else None
    return (_ratio(slower), row.place, f"{row.megabytes} MB", row.what, *_times(row.times))


def _command(row: Command) -> tuple[str, ...]:
    return (_ratio(row.times.faster_than(row.base)), row.than, row.command, *_times(row.times))


def _figure(row: Figure) -> tuple[str, ...]:
    least, most = min(row.values), max(row.values)
    return (f"{row.median:.0f} {row.unit}", f"{least:.0f} to {most:.0f}", row.target, row.what)


def _times(times: Times, remark: str = "") -> tuple[str, ...]:
    if times.failure:
        remark = f"given up: {times.failure}"
    if not times.by_round:
        return "", "", "", remark
    least, most = times.range
    return f"{1000 * times.median:.0f}", f"{1000 * least:.0f} to {1000 * most:.0f}", str(len(times.by_round)), remark


def _ratio(value: float | None) -> str:
    return f"{value:.3g}" if value else ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [*(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines), ""]


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return (
        f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, {os.cpu_count()} CPUs ({platform.machine()}), "
        f"{memory:.0f} GB of memory, {system}"
    )
