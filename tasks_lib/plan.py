"""
Plans: steps that can be run, undone, previewed and resumed.

A run that fails or is interrupted undoes its own steps, newest first, and nothing else. After a run that was killed,
the same plan skips the steps that are done and runs the rest.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError, Interrupted, ToolchainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks_lib.output import Narrator


def _never() -> bool:
    return False


def _nothing() -> None:
    return None


def _no_remark() -> str:
    return ""


@dataclass(frozen=True)
class Step:
    """
    One change to the world.

    Attributes:
        title: What the step does, in the imperative, for previews, narration and JSON.
        do: Makes the change; may return a remark that is printed after the title.
        undo: Reverts the change. It must also work when *do* failed half-way or never ran.
        done: Returns whether the whole change has been made already.
        anchor: True for the step that writes the record by which later runs find leftovers; kept if another undo fails.
        forgets: Whether *undo* only lets the step run again, and what *do* did stays.
        expect: Returns a remark on what *do* would do, which a preview adds to the title; changes nothing.
    """

    title: str
    do: Callable[[], str | None]
    undo: Callable[[], None] = _nothing
    done: Callable[[], bool] = _never
    anchor: bool = False
    forgets: bool = False
    expect: Callable[[], str] = _no_remark

    @property
    def reverts(self) -> bool:
        """Whether *undo* reverts what *do* did."""
        return self.undo is not _nothing and not self.forgets


@dataclass(frozen=True)
class Ran:
    """A step that ran: its title, how long it took in seconds, and its remark."""

    title: str
    seconds: float
    remark: str | None = None


@dataclass
class Plan:
    """
    Stages in order; a stage is one step, or several steps that run concurrently.

    Attributes:
        stages: Put the longest step of a stage first: it runs in the calling thread, which receives Ctrl-C.
        ran: The steps that have run, in order of completion.
        interrupted: The reason shown after Ctrl-C when the rollback succeeded.
        hint: How to go on when a command of the project fails in one of the steps.
    """

    stages: list[Step | tuple[Step, ...]]
    ran: list[Ran] = field(default_factory=list)
    interrupted: str = "every change of this command was undone"
    hint: str = ""

    @property
    def steps(self) -> list[Step]:
        """All steps, in order."""
        return [step for stage in self.stages for step in (stage if isinstance(stage, tuple) else (stage,))]

    def preview(self) -> list[str]:
        """Return one line for each step that a run would take; change nothing."""
        lines = []
        for step in self.steps:
            remark = "done already" if step.done() else step.expect()
            lines.append(f"{step.title} ({remark})" if remark else step.title)
        return lines

    def run(self, narrator: Narrator) -> list[Ran]:
        """
        Run every step that is not done yet, and return the steps that ran, in order of completion.

        Raises:
            Interrupted: On Ctrl-C, SIGTERM or SIGHUP, after undoing.
            GoldentreeError: The error of the failed step, after undoing; its reason names each undo that failed.
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
                if isinstance(failure, GoldentreeError):
                    failure.add(why=left, hint=self.hint if isinstance(failure, ToolchainError) else "")
                elif left:
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
        try:
            for thread in threads:
                thread.start()
            self._run_step(pending[0], narrator)
            for thread in threads:
                thread.join()
        except BaseException:
            # Undo nothing while another step is still running.
            titles = ", ".join(f"`{step.title}`" for step in pending[1:])
            with uninterrupted(), narrator.quietly(f"waiting until {titles} ends, before anything is undone"):
                for thread in threads:
                    if thread.ident is not None:  # it was started
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
    """Undo the steps *touched*, newest first; return a line for each undo that failed."""
    failures: list[str] = []
    with uninterrupted():
        for step in reversed(touched):
            if step.undo is _nothing or (step.anchor and failures):
                continue
            try:
                step.undo()
            except Exception as failure:  # noqa: BLE001 - the other steps must still be undone; this failure is reported
                failures.append(f"could not undo `{step.title}`: {failure}")
            else:
                if step.reverts:
                    narrator.say(f"↶ undone: {step.title}")
    return "\n".join(failures)


@contextmanager
def terminations_interrupt() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that they roll back as well."""
    with _handling((signal.SIGTERM, signal.SIGHUP), signal.default_int_handler):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and SIGHUP: an interrupted undo would leave its work half-done."""
    with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
        yield


@contextmanager
def _handling(signals: tuple[signal.Signals, ...], handler: signal.Handlers | Callable[..., object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows handlers in the main thread only
        return
    # Keep ignored signals ignored, as `nohup` expects.
    heeded = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
