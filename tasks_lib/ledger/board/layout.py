"""
Lay out a graph in columns from left to right.

After Sugiyama, Tagawa and Toda (1981, https://doi.org/10.1109/TSMC.1981.4308636): a node is one column to the
right of the last node that it waits for. A line that crosses columns has a lane in each, so that it runs between the
boxes; lines from one node share their lanes, like the branches of a tree. Passes in both directions order each column
by the mean position of the neighbours, and then move the boxes vertically in the same way without changing the order.
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
"""The size of a box in CSS pixels, like all lengths here."""

GUTTER = 72
"""The space between two columns, where lines bend."""

GAP = 14
"""The vertical space between boxes."""

MARGIN = 16

_LANE = 2
"""The height of a lane."""

_SWEEPS = 12
"""The number of passes that improve order and heights."""

_ABREAST = 5
"""The minimum number of nodes without edges in a row."""

_Slot = tuple[str, int]
"""A place in a column: a node's box in its own column, or one of its lanes in the columns to the right."""


@dataclass(frozen=True)
class Drawing:
    """
    The positions of the nodes and edges of a graph.

    Attributes:
        boxes: The upper left corner of each node's box.
        lines: The points of each edge, joined by alternating curves and straight segments, beginning and ending with a
            curve: from the right side of the blocker to the left side of the node that waits.
    """

    width: int
    height: int
    boxes: dict[str, Point]
    lines: dict[tuple[str, str], list[Point]]


def lay_out(nodes: Sequence[str], edges: Iterable[tuple[str, str]]) -> Drawing:
    """
    Lay out a graph without cycles, deterministically.

    Args:
        nodes: In the preferred order.
        edges: From each node to those that wait for it.
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
    """Return the sources of each target, and the targets of each source."""
    sources, targets = defaultdict[_Node, list[_Node]](list), defaultdict[_Node, list[_Node]](list)
    for source, target in edges:
        targets[source].append(target)
        sources[target].append(source)
    return sources, targets


def _columns(nodes: Iterable[str], sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the column of each node: the length of the longest path to it."""
    column: dict[str, int] = {}
    for node in TopologicalSorter({node: sources.get(node, ()) for node in nodes}).static_order():
        column[node] = 1 + max((column[source] for source in sources.get(node, ())), default=-1)
    return column


def _slots(
    nodes: Iterable[str], column: Mapping[str, int], targets: Mapping[str, Sequence[str]]
) -> tuple[list[list[_Slot]], list[tuple[_Slot, _Slot]]]:
    """Return the slots of each column, in the order of a walk along the edges, and the links between slots."""
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
        own = [(node, at) for at in range(column[node], max([column[node] + 1, *(column[target] for target in after)]))]
        for slot in own:
            slots[slot[1]].append(slot)
        links += pairwise(own)
        links += [((node, column[target] - 1), (target, column[target])) for target in after]
    return slots, links


def _ordered(slots: list[list[_Slot]], links: Iterable[tuple[_Slot, _Slot]]) -> list[list[_Slot]]:
    """Sort the slots of each column so that few lines cross."""
    sides = _ends(links)
    place = {slot: number for column in slots for number, slot in enumerate(column)}
    for sweep in range(_SWEEPS):
        near, step = (sides[0], 1) if sweep % 2 == 0 else (sides[1], -1)
        for column in slots[::step]:
            mean = {slot: fmean(place[neighbour] for neighbour in near.get(slot, (slot,))) for slot in column}
            column.sort(key=mean.__getitem__)
            place |= {slot: number for number, slot in enumerate(column)}
    return slots


def _heights(
    slots: Sequence[Sequence[_Slot]], links: Iterable[tuple[_Slot, _Slot]], column: Mapping[str, int]
) -> dict[_Slot, float]:
    """Return the vertical middle of each slot, near the slots that it is linked with."""
    left, right = _ends(links)
    middle: dict[_Slot, float] = {}
    distances = []
    for stack in slots:
        high = [HEIGHT if column[node] == at else _LANE for node, at in stack]
        distances.append([*accumulate(((upper + lower) / 2 + GAP for upper, lower in pairwise(high)), initial=0.0)])
        middle |= zip(stack, (distance - distances[-1][-1] / 2 for distance in distances[-1]), strict=True)
    for sweep in range(_SWEEPS):
        for stack, distance in list(zip(slots, distances, strict=True))[:: -1 if sweep % 2 else 1]:
            wanted = [
                fmean(middle[near] for near in (*left.get(slot, ()), *right.get(slot, ()), slot)) for slot in stack
            ]
            middle |= zip(stack, _apart(wanted, distance), strict=True)
    top = min((middle[slot] for stack in slots for slot in stack[:1]), default=0) - HEIGHT / 2 - MARGIN
    return {slot: height - top for slot, height in middle.items()}


def _apart(wanted: Sequence[float], distances: Sequence[float]) -> list[float]:
    """
    Return the heights nearest to *wanted*, by least squares, that keep their order and distances.

    Slots that would overlap move together to their mean (isotonic regression, "pool adjacent violators").
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
