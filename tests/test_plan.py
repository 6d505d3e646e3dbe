"""Plans: order, rollback, resumption, preview."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tasks_lib.errors import CycleError, GitError, Interrupted
from tasks_lib.output import Narrator
from tasks_lib.plan import Plan, Step, terminations_interrupt


class World:
    """Records which steps are done."""

    def __init__(self):
        self.done = set()
        self.log = []

    def step(self, title, *, fails=None, undo_fails=None, **options):
        def do():
            self.log.append(f"do {title}")
            if fails:
                raise fails
            self.done.add(title)
            return f"{title} it is"

        def undo():
            self.log.append(f"undo {title}")
            if undo_fails:
                raise undo_fails
            self.done.discard(title)

        return Step(title, do, undo, lambda: title in self.done, **options)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def narrator():
    return Narrator(moving=False)


def test_steps_run_in_order(world, narrator, capsys):
    """Each step prints its title and remark."""
    ran = Plan([world.step("a"), world.step("b")]).run(narrator)
    assert [(step.title, step.remark) for step in ran] == [("a", "a it is"), ("b", "b it is")]
    err = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" (")[0] for line in err] == ["✓ a · a it is", "✓ b · b it is"]


def test_preview_marks_done_steps_and_changes_nothing(world):
    """A preview runs no step."""
    world.done.add("a")
    assert Plan([world.step("a"), (world.step("b"), world.step("c"))]).preview() == ["a (done already)", "b", "c"]
    assert world.log == []


def test_failure_undoes_steps_newest_first(world, narrator):
    """The failed step is undone as well, because it may be half-done; later steps never run."""
    plan = Plan([world.step("a"), world.step("b", fails=GitError("no")), world.step("c")])
    with pytest.raises(GitError, match="no"):
        plan.run(narrator)
    assert world.log == ["do a", "do b", "undo b", "undo a"]
    assert world.done == set()


def test_failure_keeps_steps_of_earlier_runs(world, narrator):
    """A resumed plan undoes only the steps of this run."""
    world.done.add("a")
    with pytest.raises(GitError):
        Plan([world.step("a"), world.step("b"), world.step("c", fails=GitError("no"))]).run(narrator)
    assert world.done == {"a"}


def test_failing_undo_keeps_the_anchor(world, narrator):
    """The other steps are undone, except the anchor; the error keeps its class and names both failures."""
    plan = Plan(
        [
            world.step("anchor", anchor=True),
            world.step("a"),
            world.step("b", undo_fails=OSError("stuck")),
            world.step("c", fails=GitError("no", why="because", hint="try")),
        ]
    )
    with pytest.raises(GitError) as caught:
        plan.run(narrator)
    assert world.log[-3:] == ["undo c", "undo b", "undo a"]
    assert caught.value.why == "because\ncould not undo `b`: stuck"
    assert caught.value.hint == "try"
    assert world.done == {"anchor", "b"}


def test_error_with_fields_survives_a_failing_undo(world, narrator):
    """An error whose class takes more than a reason and a hint keeps its fields."""
    cycle = CycleError("x cannot wait for y", path=["x", "y", "x"])
    with pytest.raises(CycleError) as caught:
        Plan([world.step("a", undo_fails=OSError("stuck")), world.step("b", fails=cycle)]).run(narrator)
    assert caught.value.path == ["x", "y", "x"]
    assert str(caught.value) == "error: x cannot wait for y\n  could not undo `a`: stuck"


def test_unexpected_exception_keeps_its_traceback(world, narrator):
    """A bug is undone and raised unchanged, with a note of each undo that failed."""
    with pytest.raises(ZeroDivisionError) as caught:
        Plan([world.step("a", undo_fails=OSError("stuck")), world.step("b", fails=ZeroDivisionError())]).run(narrator)
    assert caught.value.__notes__ == ["could not undo `a`: stuck"]


def test_steps_of_a_stage_run_concurrently(narrator):
    """Two steps of one stage wait for each other at a barrier."""
    barrier = threading.Barrier(2, timeout=10)
    meet = [Step(title, lambda: str(barrier.wait() < 2)) for title in "ab"]
    assert len(Plan([tuple(meet)]).run(narrator)) == 2


@pytest.mark.parametrize("failing", [0, 1])
def test_failing_step_waits_for_its_stage(world, narrator, failing):
    """Both steps are undone, after the slow one has ended."""

    def slow():
        time.sleep(0.2)
        world.log.append("slow ended")

    steps = [Step("slow", slow, lambda: world.log.append("undo slow"))]
    steps.insert(failing, world.step("fast", fails=GitError("no")))
    with pytest.raises(GitError, match="no"):
        Plan([tuple(steps)]).run(narrator)
    assert world.log[:2] == ["do fast", "slow ended"]
    assert set(world.log[2:]) == {"undo slow", "undo fast"}


def test_ctrl_c_undoes_and_says_so(world, narrator):
    """The error says that every change was undone."""
    with pytest.raises(Interrupted, match="every change of this command was undone"):
        Plan([world.step("a"), world.step("b", fails=KeyboardInterrupt())]).run(narrator)
    assert world.done == set()


def test_plan_runs_in_a_thread(world, narrator):
    """Only the main thread may set signal handlers; a plan also runs without them."""
    thread = threading.Thread(target=Plan([world.step("a")]).run, args=[narrator])
    thread.start()
    thread.join()
    assert world.done == {"a"}


def test_ignored_signals_stay_ignored():
    """SIGHUP stays ignored under `nohup`; SIGTERM still interrupts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminations_interrupt():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_rollback_waits_for_steps_although_no_more_threads_start(world, narrator, monkeypatch):
    """Neither narration that needs a thread nor a step that gets none lets an undo run beside another step."""
    monkeypatch.setattr(threading.Timer, "start", _refuse)
    begun = threading.Event()

    def slow():
        begun.set()
        time.sleep(0.2)
        world.log.append("do slow")

    def fail():
        begun.wait()
        raise GitError("no")

    plan = Plan([(Step("fast", fail), Step("slow", slow, lambda: world.log.append("undo slow")))])
    with pytest.raises(GitError):
        plan.run(narrator)
    assert world.log == ["do slow", "undo slow"]


def test_step_that_gets_no_thread_is_undone_after_the_others(world, narrator, monkeypatch):
    """Those that did start are waited for first."""
    start = threading.Thread.start
    monkeypatch.setattr(threading.Timer, "start", _refuse)

    def start_one(thread):
        monkeypatch.setattr(threading.Thread, "start", _refuse)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    slow = Step("slow", lambda: time.sleep(0.2) or world.log.append("do slow"), lambda: world.log.append("undo slow"))
    with pytest.raises(RuntimeError):
        Plan([(world.step("first"), slow, world.step("third"))]).run(narrator)
    assert world.log == ["do slow", "undo third", "undo slow", "undo first"]


def _refuse(_thread):
    raise RuntimeError("can't start new thread")
