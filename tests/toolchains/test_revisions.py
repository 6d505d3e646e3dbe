"""Alembic's graph, judged by properties and by Alembic itself."""

from __future__ import annotations

from alembic.script.revision import Revision as TheirRevision
from alembic.script.revision import RevisionMap
from hypothesis import given
from hypothesis import strategies as st

from tasks_lib.toolchains.revisions import Revision, find_ancestors, sort_revisions


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Revision]:
    """Draw revisions that branch and merge; each builds on some of those before it."""
    graph: dict[str, Revision] = {}
    for number in range(draw(st.integers(1, 12))):
        parents = draw(st.lists(st.sampled_from(sorted(graph)), max_size=3, unique=True)) if graph else []
        graph[f"r{number:02}"] = Revision(f"r{number:02}_step", tuple(parents))
    return graph


@st.composite
def graphs_and_keys(draw: st.DrawFn) -> tuple[dict[str, Revision], list[str]]:
    graph = draw(graphs())
    return graph, draw(st.lists(st.sampled_from(sorted(graph)), min_size=1, unique=True))


@given(graphs())
def test_parents_are_sorted_first(graph: dict[str, Revision]) -> None:
    """Every revision is listed once, after those it builds on."""
    order = sort_revisions(graph)
    assert sorted(order) == sorted(graph)
    assert all(order.index(parent) < order.index(key) for key in graph for parent in graph[key].parents)


@given(graphs_and_keys())
def test_ancestors_are_those_that_alembic_finds(drawn: tuple[dict[str, Revision], list[str]]) -> None:
    """The ancestors of some heads are the revisions that Alembic would undo."""
    graph, heads = drawn
    theirs = RevisionMap(lambda: [TheirRevision(key, revision.parents) for key, revision in graph.items()])
    expected = {found.revision for head in heads for found in theirs.iterate_revisions(head, "base")}
    assert find_ancestors(graph, heads) == expected


@given(graphs_and_keys())
def test_ancestors_include_their_own_ancestors(drawn: tuple[dict[str, Revision], list[str]]) -> None:
    """Asking again about the answer adds nothing."""
    graph, heads = drawn
    once = find_ancestors(graph, heads)
    assert find_ancestors(graph, once) == once


@given(graphs())
def test_an_unknown_head_stands_for_itself(graph: dict[str, Revision]) -> None:
    """A head that the branch lacks has no known ancestors."""
    assert find_ancestors(graph, ["elsewhere"]) == {"elsewhere"}
