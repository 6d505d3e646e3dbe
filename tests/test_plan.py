"""Plans: order, rollback, resumption, preview."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tasks_lib.errors import GitError, Interrupted
from tasks_lib.output import Narrator
from tasks_lib.plan import Plan, Step, terminations_interrupt


class World:
    """A world in which steps leave their titles."""

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


def test_in_order(world, narrator, capsys):
    """Steps run one after the other and say what they did."""
    ran = Plan([world.step("a"), world.step("b")]).run(narrator)
    assert [(one.title, one.remark) for one in ran] == [("a", "a it is"), ("b", "b it is")]
    err = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" (")[0] for line in err] == ["✓ a · a it is", "✓ b · b it is"]


def test_preview_changes_nothing(world):
    """A step that is done is said to be."""
    world.done.add("a")
    assert Plan([world.step("a"), (world.step("b"), world.step("c"))]).preview() == ["a (done already)", "b", "c"]
    assert world.log == []


def test_a_failure_undoes_newest_first(world, narrator):
    """The failed step itself is undone as well, for it may be half done; those behind it never ran."""
    plan = Plan([world.step("a"), world.step("b", fails=GitError("no")), world.step("c")])
    with pytest.raises(GitError, match="no"):
        plan.run(narrator)
    assert world.log == ["do a", "do b", "undo b", "undo a"]
    assert world.done == set()


def test_what_was_done_before_stays(world, narrator):
    """A resumed plan undoes what this run did, and only that."""
    world.done.add("a")
    with pytest.raises(GitError):
        Plan([world.step("a"), world.step("b"), world.step("c", fails=GitError("no"))]).run(narrator)
    assert world.done == {"a"}


def test_an_undo_that_fails(world, narrator):
    """The others are undone all the same, except the anchor; the error keeps its kind and tells of both."""
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


def test_a_bug_keeps_its_traceback(world, narrator):
    """What nobody expected is undone and raised as it is, with a note of what could not be undone."""
    with pytest.raises(ZeroDivisionError) as caught:
        Plan([world.step("a", undo_fails=OSError("stuck")), world.step("b", fails=ZeroDivisionError())]).run(narrator)
    assert caught.value.__notes__ == ["could not undo `a`: stuck"]


def test_at_the_same_time(narrator):
    """Steps of one stage meet each other."""
    barrier = threading.Barrier(2, timeout=10)
    meet = [Step(title, lambda: str(barrier.wait() < 2)) for title in "ab"]
    assert len(Plan([tuple(meet)]).run(narrator)) == 2


@pytest.mark.parametrize("failing", [0, 1])
def test_one_of_a_stage_fails(world, narrator, failing):
    """Nothing is undone before the other one has ended; then both are."""

    def slow():
        time.sleep(0.2)
        world.log.append("slow ended")

    steps = [Step("slow", slow, lambda: world.log.append("undo slow"))]
    steps.insert(failing, world.step("fast", fails=GitError("no")))
    with pytest.raises(GitError, match="no"):
        Plan([tuple(steps)]).run(narrator)
    assert world.log[:2] == ["do fast", "slow ended"]
    assert set(world.log[2:]) == {"undo slow", "undo fast"}


def test_interrupted(world, narrator):
    """Ctrl-C is an error that says what became of it."""
    with pytest.raises(Interrupted, match="everything that this call did was undone"):
        Plan([world.step("a"), world.step("b", fails=KeyboardInterrupt())]).run(narrator)
    assert world.done == set()


def test_in_a_thread(world, narrator):
    """A caller's thread, which may not set signal handlers, can run a plan."""
    thread = threading.Thread(target=Plan([world.step("a")]).run, args=[narrator])
    thread.start()
    thread.join()
    assert world.done == {"a"}


def test_what_is_ignored_stays_ignored():
    """Under `nohup` the terminal that goes away interrupts nothing; SIGTERM does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminations_interrupt():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)
