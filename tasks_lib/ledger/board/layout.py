"""
Where the boxes and lines of a graph go: waves from left to right.

After Sugiyama, Tagawa and Toda (1981, https://doi.org/10.1109/TSMC.1981.4308636): a node stands one column right
of the last that it waits for. A line that passes columns has a lane in each, so that it runs between the boxes;
lines from one node share their lanes, like the branches of a tree. The order within a column follows the mean of
the neighbours, to and fro; then the heights do, as far as the order lets them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import accumulate, pairwise
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Point = tuple[int, int]

_Node = TypeVar("_Node")

WIDTH, HEIGHT = 212, 64
"""A box, in pixels of CSS, as all lengths here."""

GUTTER = 72
"""Between two columns, where lines bend."""

GAP = 14
"""Between what stands above each other."""

MARGIN = 16

_LANE = 2
"""How high a lane is."""

_SWEEPS = 12
"""How often the order and the heights are improved."""

_ABREAST = 5
"""How many nodes without edges stand abreast, at least."""

_Slot = tuple[str, int]
"""A place in a column: a node's box in its own one, one of its lanes in those to the right."""


@dataclass(frozen=True)
class Drawing:
    """
    A graph, laid out.

    Attributes:
        boxes: The upper left corner of each node's box.
        lines: Of each edge the points that bends and straight pieces join by turns, a bend first and last: from the
            right side of the node that is waited for to the left side of the one that waits.
    """

    width: int
    height: int
    boxes: dict[str, Point]
    lines: dict[tuple[str, str], list[Point]]


def lay_out(nodes: Sequence[str], edges: Iterable[tuple[str, str]]) -> Drawing:
    """
    Lay out a graph without circles, the same one always the same way.

    Args:
        nodes: In the order in which they would rather stand.
        edges: Each from a node to one that waits for it.
    """
    sources, targets = _ends(edges)
    tied = [node for node in nodes if node in sources or node in targets]
    column = _columns(tied, sources)
    slots, links = _slots(tied, column, targets)
    middle = _heights(_ordered(slots, links), links, column)
    boxes = {node: (_left(column[node]), round(middle[node, column[node]] - HEIGHT / 2)) for node in tied}

    lines: dict[tuple[str, str], list[Point]] = {}
    for target in tied:
        arriving = sorted(sources[target], key=lambda source: middle[source, column[target] - 1])
        for number, source in enumerate(arriving, 1):
            lanes = range(column[source] + 1, column[target])
            lines[source, target] = [
                (_left(column[source]) + WIDTH, boxes[source][1] + HEIGHT // 2),
                *((_left(lane) + across, round(middle[source, lane])) for lane in lanes for across in (0, WIDTH)),
                (_left(column[target]), boxes[target][1] + HEIGHT * number // (len(arriving) + 1)),
            ]

    bottom = max((round(height) + HEIGHT // 2 for height in middle.values()), default=MARGIN - 2 * GAP)
    width = max(_left(len(slots)) - GUTTER, MARGIN + _ABREAST * (WIDTH + GAP) - GAP if len(tied) < len(nodes) else 0)
    abreast = (width - MARGIN + GAP) // (WIDTH + GAP)
    for number, node in enumerate(node for node in nodes if node not in boxes):
        down, right = divmod(number, abreast)
        boxes[node] = MARGIN + right * (WIDTH + GAP), bottom + 2 * GAP + down * (HEIGHT + GAP)
    return Drawing(width + MARGIN, max((y for _, y in boxes.values()), default=0) + HEIGHT + MARGIN, boxes, lines)


def _left(column: int) -> int:
    return MARGIN + column * (WIDTH + GUTTER)


def _ends(edges: Iterable[tuple[_Node, _Node]]) -> tuple[dict[_Node, list[_Node]], dict[_Node, list[_Node]]]:
    """Return what is left of each end of *edges*, and what is right of it."""
    sources, targets = defaultdict[_Node, list[_Node]](list), defaultdict[_Node, list[_Node]](list)
    for source, target in edges:
        targets[source].append(target)
        sources[target].append(source)
    return sources, targets


def _columns(nodes: Iterable[str], sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the column of each node: how long the longest way to it is."""
    column: dict[str, int] = {}
    for node in TopologicalSorter({node: sources.get(node, ()) for node in nodes}).static_order():
        column[node] = 1 + max((column[source] for source in sources.get(node, ())), default=-1)
    return column


def _slots(
    nodes: Iterable[str], column: Mapping[str, int], targets: Mapping[str, Sequence[str]]
) -> tuple[list[list[_Slot]], list[tuple[_Slot, _Slot]]]:
    """Return what stands in each column, along the edges from the first nodes, and which of it is linked."""
    slots: list[list[_Slot]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    links: list[tuple[_Slot, _Slot]] = []
    ahead, seen = sorted(nodes, key=column.__getitem__, reverse=True), set()
    while ahead:
        node = ahead.pop()
        if node in seen:
            continue
        seen.add(node)
        after = targets.get(node, ())
        ahead += reversed(after)
        own = [(node, at) for at in range(column[node], max([column[node] + 1, *(column[one] for one in after)]))]
        for slot in own:
            slots[slot[1]].append(slot)
        links += pairwise(own)
        links += [((node, column[one] - 1), (one, column[one])) for one in after]
    return slots, links


def _ordered(slots: list[list[_Slot]], links: Iterable[tuple[_Slot, _Slot]]) -> list[list[_Slot]]:
    """Return the columns in an order in which few lines cross."""
    sides = _ends(links)
    place = {slot: number for column in slots for number, slot in enumerate(column)}
    for sweep in range(_SWEEPS):
        near, step = (sides[0], 1) if sweep % 2 == 0 else (sides[1], -1)
        for column in slots[::step]:
            mean = {slot: fmean(place[one] for one in near.get(slot, (slot,))) for slot in column}
            column.sort(key=mean.__getitem__)
            place |= {slot: number for number, slot in enumerate(column)}
    return slots


def _heights(
    slots: Sequence[Sequence[_Slot]], links: Iterable[tuple[_Slot, _Slot]], column: Mapping[str, int]
) -> dict[_Slot, float]:
    """Return the middle of each slot, near those that it is linked with."""
    left, right = _ends(links)
    middle: dict[_Slot, float] = {}
    distances = []
    for stack in slots:
        high = [HEIGHT if column[node] == at else _LANE for node, at in stack]
        distances.append([*accumulate(((one + other) / 2 + GAP for one, other in pairwise(high)), initial=0.0)])
        middle |= zip(stack, (distance - distances[-1][-1] / 2 for distance in distances[-1]), strict=True)
    for sweep in range(_SWEEPS):
        for stack, distance in list(zip(slots, distances, strict=True))[:: -1 if sweep % 2 else 1]:
            wanted = [fmean(middle[one] for one in (*left.get(slot, ()), *right.get(slot, ()), slot)) for slot in stack]
            middle |= zip(stack, _apart(wanted, distance), strict=True)
    top = min((middle[slot] for stack in slots for slot in stack[:1]), default=0) - HEIGHT / 2 - MARGIN
    return {slot: height - top for slot, height in middle.items()}


def _apart(wanted: Sequence[float], distances: Sequence[float]) -> list[float]:
    """
    Return the heights nearest to *wanted*, by least squares, that keep their order and distances.

    Those that would come too close move as one pool to their mean (isotonic regression, "pool adjacent violators").
    """
    pools: list[tuple[float, int]] = []
    for want, distance in zip(wanted, distances, strict=True):
        mean, size = want - distance, 1
        while pools and pools[-1][0] > mean:
            above, many = pools.pop()
            mean, size = (mean * size + above * many) / (size + many), size + many
        pools.append((mean, size))
    starts = [mean for mean, size in pools for _ in range(size)]
    return [start + distance for start, distance in zip(starts, distances, strict=True)]
