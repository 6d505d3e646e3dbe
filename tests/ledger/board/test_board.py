"""The board, as people see it in a real browser."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_lib.errors import LedgerError
from tasks_lib.ledger.board.content import Place, read
from tasks_lib.ledger.board.file import write
from tasks_lib.ledger.board.layout import HEIGHT, WIDTH, lay_out
from tasks_lib.ledger.board.page import page
from tasks_lib.ledger.ledger import Ledger
from tasks_lib.ledger.work import queue
from tests.ledger.chromium import chromium

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE = (
    SCRIPT,
    "]]> --> </svg></style></script>",
    "שלום \u202eabc",
    "x" * 300,
    "a &amp; b",
    "' onfocus='alert(3)",
)

# Every text that is to be seen, with the ratio of its contrast as WCAG 2.2 defines it.
CONTRASTS = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgb = (...colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
    if (!text || element.tagName === "SCRIPT" || !element.checkVisibility()) continue;
    const behind = [];
    for (let one = element; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
    const [low, high] = [rgb(...behind, getComputedStyle(element).color), rgb(...behind)].map(luminance).sort();
    found.push([text.slice(0, 40), (Math.max(low, high) + 0.05) / (Math.min(low, high) + 0.05)]);
  }
  return found;
}"""

# Where the boxes and the ends of the lines are, in pixels of the drawing.
DRAWN = """(plane) => {
  const origin = plane.getBoundingClientRect();
  const boxes = [...plane.querySelectorAll("a")].map((a) => {
    const r = a.getBoundingClientRect();
    return [a.dataset.task, r.left - origin.left, r.top - origin.top, r.right - origin.left, r.bottom - origin.top];
  });
  const lines = [...plane.querySelectorAll("path")].map((line) => {
    const [start, end] = [line.getPointAtLength(0), line.getPointAtLength(line.getTotalLength())];
    return [line.dataset.from, line.dataset.to, start.x, start.y, end.x, end.y];
  });
  return {boxes, lines, width: origin.width, height: origin.height};
}"""


@pytest.fixture(scope="module")
def browser():
    """Give one browser for all tests of this file."""
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser):
    """Give a function that opens a page; whatever it asks for, says on the console or pops up is noted, and wrong."""
    noted, contexts = [], []

    def open_page(path, width=1280, scheme="light", **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: noted.append(message.text))
        tab.on("pageerror", lambda error: noted.append(str(error)))
        tab.on("dialog", lambda dialog: (noted.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: None if request.url == path.as_uri() else noted.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert noted == []


def drawn(ledger, path, places=None):
    with ledger.read() as tx:
        write(page(read(tx, ledger.where, places or {}), "shop"), path)
    ledger.engine.dispose()
    return path


@pytest.fixture
def board(sqlite_ledger, tmp_path):
    """Give the board of a ledger with something of everything, and what is hostile in every text."""
    with sqlite_ledger.write() as tx:
        goal = tx.initiatives.create(name=f"Sign in {SCRIPT}", branch="cw/sign-in")
        first = tx.phases.create(initiative_id=goal.id, name="Schema", status="in_progress")
        second = tx.phases.create(initiative_id=goal.id, name="Server", status="pending")
        tx.phases.create_dependency(second.id, first.id)
        tasks = [
            tx.tasks.create(name=name, phase_id=first.id, description=SCRIPT, summary=f"{SCRIPT}\nline 2", order=order)
            for order, name in enumerate(HOSTILE)
        ]
        for blocker, task in [*pairwise(tasks), (tasks[0], tasks[3]), (tasks[0], tasks[5])]:
            tx.tasks.create_dependency(task.id, blocker.id)
        tx.tasks.create(name="Ask around", phase_id=first.id, category="research")
        tx.tasks.create(name="Given up", phase_id=first.id, status="blocked", retry_count=4)
        tx.tasks.create(name="Elsewhere", order=9)
        over = tx.initiatives.create(name="Long done", status="completed")
        tx.tasks.create(name="Was done", initiative_id=over.id, status="completed")
        fox, owl, yak = (
            tx.agents.create(name=name, worktree_id=f"r/{slug}")
            for name, slug in (("amber-fox", "a_1"), (f"owl{SCRIPT}", "b_2"), ("rosy-yak", "elsewhere"))
        )
        tx.agents.create(name="gone", worktree_id="r/a_1", status="stopped")
        for _ in range(2):
            claimed = queue.claim_next(tx, fox.id)
            if claimed.task.id == tasks[0].id:
                queue.complete(tx, claimed.task.id)
        tx.conversations.create(from_agent_id=owl.id, to_agent_id=fox.id, question=SCRIPT, task_id=tasks[1].id)
        tx.messages.create(
            sender_type="agent",
            sender_id=yak.id,
            recipient_type="user",
            content=f"Where to?\n{SCRIPT}",
            type="question",
        )
        tx.errands.create(id="e1", description=SCRIPT, branch="errand/one", agent_id=owl.id)
        tx.errands.create(id="e2", description="Finished", branch="errand/two", status="merged")
    places = {"r/a_1": Place("feat/a", f"/src/{SCRIPT}", "shop_a_1"), "r/b_2": Place("feat/b", "", "")}
    return drawn(sqlite_ledger, tmp_path / "board.html", places)


@given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=80, unique=True))
@settings(max_examples=60, deadline=None)
def test_a_layout_keeps_boxes_apart(count, pairs):
    """No two boxes meet, lines run from left to right and pass no box, and the same graph looks the same again."""
    nodes = [f"n{number}" for number in range(count)]
    edges = [(nodes[source], nodes[other]) for source, other in pairs if source < other < count]
    plan = lay_out(nodes, edges)
    assert plan == lay_out(nodes, edges)
    assert (set(plan.boxes), set(plan.lines)) == (set(nodes), set(edges))
    for (x, y), (to_x, to_y) in combinations(plan.boxes.values(), 2):
        assert abs(x - to_x) >= WIDTH or abs(y - to_y) >= HEIGHT
    for x, y in plan.boxes.values():
        assert (0 <= x <= plan.width - WIDTH, 0 <= y <= plan.height - HEIGHT) == (True, True)
    for points in plan.lines.values():
        assert len(points) % 2 == 0
        assert points == sorted(points, key=lambda point: point[0])
        for x, y in points[1:-1]:
            assert not any(left <= x <= left + WIDTH and top <= y <= top + HEIGHT for left, top in plan.boxes.values())


def test_a_wave_stands_right_of_what_it_waits_for():
    """A diamond has three columns, and tasks without dependencies are below the graph."""
    boxes = lay_out("adbce", [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]).boxes
    assert boxes["a"][0] < boxes["b"][0] == boxes["c"][0] < boxes["d"][0]
    assert boxes["a"][1] == boxes["d"][1]
    assert boxes["e"][1] > max(boxes[node][1] for node in "abcd")


def test_it_is_read_everywhere(board, opened):
    """In both schemes, on a desk and on a telephone: nothing sticks out, all text has the contrast of AA."""
    grounds = set()
    for scheme in ("light", "dark"):
        for width in (360, 1280):
            tab = opened(board, width, scheme)
            tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            faint = [(text, ratio) for text, ratio in tab.evaluate(CONTRASTS) if ratio < 4.5]
            assert faint == []
            grounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


def test_what_people_wrote_is_text(board, opened):
    """Markup in a name is shown, not run; direction and control characters stay where they are; no part is missing."""
    for options in ({}, {"java_script_enabled": False}):
        tab = opened(board, **options)
        assert tab.title() == "shop: ledger"
        assert tab.locator("html").get_attribute("lang") == "en"
        assert tab.locator(".plane script, .plane img, main script, main img").count() == 0
        names = tab.locator(".plane .name").all_text_contents()
        assert set(HOSTILE) | {"Ask around", "Given up", "Elsewhere", "Was done"} == set(names)
        for name, parts in {
            "messages": ["rosy-yak", "question", f"Where to?\n{SCRIPT}", "inv message.read "],
            "questions": [f"owl{SCRIPT} asks amber-fox", SCRIPT, "inv agent.answer "],
            "agents": ["amber-fox", "feat/a", f"/src/{SCRIPT}", "shop_a_1", "removed", "in another", "1 is stopped"],
            "errands": [SCRIPT, "errand/one", "1 is merged or abandoned"],
            "work": [f"Sign in {SCRIPT}", "cw/sign-in", "1 of 8 tasks completed", "Schema", "Server", "Long done"],
        }.items():  # fmt: skip
            shown = tab.locator(f"#{name}").inner_text()
            assert [part for part in parts if part not in shown] == []
        legend = dict(line.rsplit(" ", 1) for line in tab.locator(".legend label").all_text_contents())
        assert legend == {
            "completed": "2", "in progress": "1", "ready": "1", "waiting": "4", "planning": "1", "blocked": "1",
        }  # fmt: skip
        assert re.search(r"As of 20\d\d-\d\d-\d\d \d\d:\d\d UTC, \d+ s ago", tab.locator("header").inner_text())
    assert board.stat().st_mode & 0o777 == 0o600


def test_the_graph_is_drawn(board, opened):
    """Every task has a box within the drawing, none meet, and each line ends at the boxes that it joins."""
    tab = opened(board)
    plane = tab.locator(".plane").first.evaluate(DRAWN)
    boxes = {task: corners for task, *corners in plane["boxes"]}
    assert len(boxes) == len(HOSTILE) + 2
    for left, top, right, bottom in boxes.values():
        assert left >= 0 and top >= 0 and right <= plane["width"] and bottom <= plane["height"]  # noqa: PT018
    for box, other in combinations(boxes.values(), 2):
        assert box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
    assert len(plane["lines"]) == len(HOSTILE) + 1
    for source, target, x, y, to_x, to_y in plane["lines"]:
        assert (x, to_x) == (pytest.approx(boxes[source][2], abs=1), pytest.approx(boxes[target][0], abs=1))
        assert boxes[source][1] < y < boxes[source][3]
        assert boxes[target][1] < to_y < boxes[target][3]
    states = [text.split(" · ") for text in tab.locator(".plane").first.locator(".remark").all_text_contents()]
    assert ["in progress", "amber-fox"] in states
    assert ["blocked", "4 failed"] in states
    tab.emulate_media(media="print")
    assert tab.locator(".region").first.evaluate("(one) => one.scrollHeight <= one.clientHeight")


def test_the_keyboard_reaches_everything(board, opened):
    """Tab goes along the waves; a task shows what it is tied to, and leads to its row; states fade at will."""
    tab = opened(board, reduced_motion="reduce")
    reached = []
    while len(reached) < 60 and (not reached or reached[-1] != "BODY"):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.dataset.task || document.activeElement.tagName"))
    boxes = tab.locator(".plane a").evaluate_all(
        "(all) => all.filter((a) => a.checkVisibility()).map((a) => a.dataset.task)"
    )
    assert [node for node in reached if node in boxes] == boxes

    tab.locator(".plane .name", has_text="alert(1)").locator("..").focus()
    assert tab.locator(".plane path.followed").count() == 3
    assert tab.locator(".plane").first.locator("a.followed").count() == 4
    tab.keyboard.press("Enter")
    assert tab.locator("tr:target th").is_visible()
    tab.locator(".legend label", has_text="blocked").click()
    assert tab.locator(".box.blocked").evaluate("(box) => getComputedStyle(box).opacity") < "0.5"


def test_two_hundred_tasks_stay_in_their_region(tmp_path, opened):
    """The drawing scrolls, the page does not; and an empty ledger has a board, too."""
    ledger = Ledger.on_sqlite(tmp_path / "many.db")
    empty = opened(drawn(ledger, tmp_path / "empty.html"))
    assert "No initiatives and no tasks yet." in empty.locator("#work").inner_text()
    with ledger.write() as tx:
        goal = tx.initiatives.create(name="Much")
        tasks = [tx.tasks.create(name=f"Task {number}", initiative_id=goal.id) for number in range(200)]
        for number, task in enumerate(tasks[20:], 20):
            for blocker in {number - 7, number * 5 // 6, number - 20}:
                tx.tasks.create_dependency(task.id, tasks[blocker].id)
    path = drawn(ledger, tmp_path / "many.html")
    for width in (360, 1280):
        tab = opened(path, width)
        assert tab.locator(".plane a").count() == 200
        region = tab.locator(".region").evaluate("(one) => [one.clientWidth, one.clientHeight, one.scrollWidth]")
        assert region[0] <= width
        assert region[1] <= 800
        assert region[2] > width
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_it_replaces_boards_only(board, tmp_path):
    """An earlier board is replaced, another file is not, and the error names a missing directory."""
    write(board.read_text(), board)
    own = tmp_path / "index.html"
    own.write_text("<title>mine</title>")
    for path, why in ((own, "is not a board"), (tmp_path / "none" / "x.html", "No such file or directory")):
        with pytest.raises(LedgerError, match=why):
            write(board.read_text(), Path(path))
    assert own.read_text() == "<title>mine</title>"
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("ledger.db")} == {
        "board.html",
        "index.html",
    }
