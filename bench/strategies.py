"""
Measure CREATE DATABASE ... TEMPLATE by strategy and size, from a frozen source: where do the thresholds lie?

usage: python -m bench.strategies [--runs N]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

from bench import goldens
from bench.servers import file_systems, postgres_versions, running
from bench.timing import Way, in_turn
from tasks_lib.databases.server.connection import scalar
from tasks_lib.databases.server.embedded.cluster import open_to_pass
from tasks_lib.output import format_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from bench.servers import Target

SIZES = (8, 17, 32, 48, 64, 96, 128, 200)
"""Megabytes; the first is an empty database, the second the fixture as it is."""

_WAYS: dict[str, tuple[LiteralString, LiteralString]] = {
    "WAL_LOG": ("WAL_LOG", "copy"),
    "FILE_COPY": ("FILE_COPY", "copy"),
    "FILE_COPY clone": ("FILE_COPY", "clone"),
}


def main() -> None:
    """Print one table of every server, file system and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="counted copies of each (default: 9)")
    runs = parser.parse_args().runs
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        scratch = Path(directory)
        open_to_pass(scratch)
        with file_systems(scratch) as (found, left_out):
            for file_system in found:
                for programs in postgres_versions():
                    with running(programs, file_system) as target:
                        rows += sweep(target, runs)
    print(format_table(("POSTGRESQL", "MB", *(f"{way} ms" for way in _WAYS), "FASTEST"), rows))
    print(*left_out, sep="\n")


def sweep(target: Target, runs: int) -> Iterator[tuple[str, ...]]:
    """Give a row per size: the median of each way's milliseconds (and its least), and the name of the fastest."""
    with target.server.connect() as connection:
        for megabytes, source in _frozen_sources(target, connection):
            times = in_turn(
                {
                    name: Way(
                        partial(connection.execute, f"CREATE DATABASE copied TEMPLATE {source} STRATEGY {strategy}"),
                        prepare=partial(_prepare, connection, setting),
                        clean=partial(connection.execute, "DROP DATABASE IF EXISTS copied"),
                    )
                    for name, (strategy, setting) in _ways(connection).items()
                },
                runs,
            )
            cells = [
                f"{1000 * times[name].median:.0f} ({1000 * times[name].range[0]:.0f})" if name in times else "-"
                for name in _WAYS
            ]
            fastest = min(times, key=lambda name: times[name].median)
            row = (target.name, str(megabytes), *cells, fastest)
            print(*row, sep="\t", file=sys.stderr)
            yield row


def _prepare(connection: Connection[Any], setting: LiteralString) -> None:
    if connection.info.server_version >= 180_000:
        connection.execute(f"SET file_copy_method = {setting}")
    os.sync()


def _ways(connection: Connection[Any]) -> dict[str, tuple[LiteralString, LiteralString]]:
    """Return the ways that the server knows: the strategy, and what `file_copy_method` is set to."""
    if connection.info.server_version >= 180_000:
        return _WAYS
    return {name: way for name, way in _WAYS.items() if way[1] == "copy"}


def _frozen_sources(target: Target, connection: Connection[Any]) -> Iterator[tuple[int, str]]:
    """Grow one golden through all sizes; give a frozen copy of each, and the size that it came to."""
    connection.execute("CREATE DATABASE growing")
    yield _freeze(connection, "empty")
    connection.execute("DROP DATABASE growing")
    goldens.create(target, "growing")
    for megabytes in SIZES[1:]:
        goldens.grow(target, "growing", megabytes)
        yield _freeze(connection, f"frozen_{megabytes}")


def _freeze(connection: Connection[Any], name: str) -> tuple[int, str]:
    connection.execute(
        f"CREATE DATABASE {name} TEMPLATE growing STRATEGY FILE_COPY IS_TEMPLATE true ALLOW_CONNECTIONS false"
    )
    return int(scalar(connection, "SELECT round(pg_database_size(%s) / 1024 ^ 2)", [name])), name


if __name__ == "__main__":
    main()
