"""
A plan: steps that know how to do, to undo, and to tell that they are done.

A plan is examined, previewed or run. A run that fails, or is interrupted, undoes what it did,
newest first, and only that. A run that was killed leaves its marks in the world; running the same
plan again passes over what is done and finishes the rest.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks_lib.output import Narrator


def _never() -> bool:
    return False


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Step:
    """
    One change to the world.

    Attributes:
        title: What it does, in the imperative: read in previews, narration and JSON.
        do: Make the change; what it returns is a remark shown behind the title.
        undo: Take the change back. Must bear being called when *do* failed half-way or never ran.
        done: Whether the change is there already, complete.
        anchor: The record by which a later run finds what is left: never undone while another undo failed.
    """

    title: str
    do: Callable[[], str | None]
    undo: Callable[[], None] = _nothing
    done: Callable[[], bool] = _never
    anchor: bool = False


@dataclass(frozen=True)
class Ran:
    """A step that ran: its title, how long it took in seconds, and its remark."""

    title: str
    seconds: float
    remark: str | None = None


@dataclass
class Plan:
    """
    Stages in order; a stage is a step, or several that run at the same time.

    Attributes:
        stages: Of several steps the first runs in the calling thread, where Ctrl-C arrives: the long one.
        interrupted: What somebody is told who interrupts it, where nothing went wrong in undoing.
    """

    stages: list[Step | tuple[Step, ...]]
    ran: list[Ran] = field(default_factory=list)
    interrupted: str = "everything that this call did was undone"

    @property
    def steps(self) -> list[Step]:
        """All steps, in order."""
        return [step for stage in self.stages for step in (stage if isinstance(stage, tuple) else (stage,))]

    def preview(self) -> list[str]:
        """Return what a run would do, a line for each step, changing nothing."""
        return [f"{step.title} (done already)" if step.done() else step.title for step in self.steps]

    def run(self, narrator: Narrator) -> list[Ran]:
        """
        Run every step that is not done yet.

        Returns what ran, in order of completion.

        Raises:
            Interrupted: On Ctrl-C, SIGTERM or SIGHUP, after undoing.
            GoldentreeError: As a step raised it, after undoing; what could not be undone is added to it.
        """
        touched: list[Step] = []
        with terminations_interrupt():
            try:
                for stage in self.stages:
                    self._run_stage(stage if isinstance(stage, tuple) else (stage,), touched, narrator)
            except BaseException as failure:
                left = _undo(touched, narrator)
                if isinstance(failure, KeyboardInterrupt):
                    raise Interrupted("interrupted", why=left or self.interrupted) from None
                if isinstance(failure, GoldentreeError) and left:
                    raise type(failure)(
                        failure.what, why="\n".join(filter(None, [failure.why, left])), hint=failure.hint
                    ) from failure
                if left:
                    failure.add_note(left)
                raise
        return self.ran

    def _run_stage(self, stage: tuple[Step, ...], touched: list[Step], narrator: Narrator) -> None:
        pending = [step for step in stage if not step.done()]
        if not pending:
            return
        touched.extend(pending)
        failures: list[BaseException] = []

        def in_background(step: Step) -> None:
            try:
                self._run_step(step, narrator)
            except BaseException as failure:  # noqa: BLE001 - carried to the calling thread, which raises it
                failures.append(failure)

        threads = [threading.Thread(target=in_background, args=[step]) for step in pending[1:]]
        for thread in threads:
            thread.start()
        try:
            self._run_step(pending[0], narrator)
            for thread in threads:
                thread.join()
        except BaseException:
            # Nothing may be undone while a step is still at work on it.
            with uninterrupted():
                for thread in threads:
                    thread.join()
            raise
        if failures:
            raise failures[0]

    def _run_step(self, step: Step, narrator: Narrator) -> None:
        started = time.monotonic()
        with narrator.step(step.title) as remarks:
            remark = step.do()
            if remark:
                remarks.append(remark)
        self.ran.append(Ran(step.title, round(time.monotonic() - started, 3), remark))


def _undo(touched: list[Step], narrator: Narrator) -> str:
    """Undo *touched*, newest first; return what could not be undone, empty when all was."""
    failures: list[str] = []
    with uninterrupted():
        for step in reversed(touched):
            if step.undo is _nothing or (step.anchor and failures):
                continue
            try:
                step.undo()
            except Exception as failure:  # noqa: BLE001 - the others must still be undone; this one is reported
                failures.append(f"could not undo `{step.title}`: {failure}")
            else:
                narrator.say(f"↶ undone: {step.title}")
    return "\n".join(failures)


@contextmanager
def terminations_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP arrive as Ctrl-C does, so that they roll back as well."""
    with _handling((signal.SIGTERM, signal.SIGHUP), signal.default_int_handler):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore a second Ctrl-C: an undo cut short would leave what it was about to take away."""
    with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
        yield


@contextmanager
def _handling(signals: tuple[signal.Signals, ...], handler: signal.Handlers | Callable[..., object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; a caller's thread is the caller's to stop
        return
    # What is ignored already stays so: `nohup`.
    heeded = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
