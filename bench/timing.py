"""
Time ways to do the same thing, in turn: A B A B, so that a machine whose speed drifts treats all alike.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _nothing() -> None:
    """Need no preparation."""


@dataclass(frozen=True)
class Way:
    """
    One way to do the thing.

    Attributes:
        run: Does it, and is timed.
        prepare: Comes before, untimed.
        clean: Comes after, untimed, also after a failure.
    """

    run: Callable[[], object]
    prepare: Callable[[], object] = _nothing
    clean: Callable[[], object] = _nothing


@dataclass
class Times:
    """
    What was measured of one way.

    Attributes:
        by_round: Seconds, by the number of the round.
        failure: Why it was given up, empty where it was not.
    """

    by_round: dict[int, float] = field(default_factory=dict)
    failure: str = ""

    @property
    def median(self) -> float:
        """The median of its seconds."""
        return statistics.median(self.by_round.values())

    @property
    def range(self) -> tuple[float, float]:
        """Its least and its most seconds."""
        return min(self.by_round.values()), max(self.by_round.values())

    def faster_than(self, other: Times) -> float | None:
        """Return how many times faster it was, the median over the rounds that both have; None where there are none."""
        common = self.by_round.keys() & other.by_round.keys()
        if not common:
            return None
        return statistics.median(other.by_round[number] / self.by_round[number] for number in common)


_MANY = 3
"""From so many rounds on, what is timed is short enough for the first to matter that only warms the caches."""


def in_turn(ways: Mapping[str, Way], rounds: int) -> dict[str, Times]:
    """
    Run all *ways* once a round, where there are many with an uncounted round before.

    A way that fails is given up, and says why; the others go on.
    """
    times = {name: Times() for name in ways}
    for number in range(-1 if rounds >= _MANY else 0, rounds):
        for name, way in ways.items():
            if times[name].failure:
                continue
            try:
                way.prepare()
                started = time.perf_counter()
                way.run()
                spent = time.perf_counter() - started
            except Exception as error:  # noqa: BLE001 - whatever a rival does wrong belongs into the table
                times[name].failure = _first_line(error)
            else:
                if number >= 0:
                    times[name].by_round[number] = spent
            finally:
                way.clean()
    return times


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
