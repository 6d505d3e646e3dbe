"""
Print the answer on stdout and the narration on stderr.

A task's answer is text for people or one JSON document for programs. Narration is everything else: steps, the output of
child processes, warnings. A terminal shows running steps in place, a pipe gets plain lines. Colour and motion follow
`NO_COLOR` and `TERM` as Rich does.

All text leaves through this module, and only here: it escapes control characters, because names, messages and output of
others are in it. The only exceptions are our own styles, and the colours of child processes on a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO

from tasks_lib.errors import GoldentreeError
from tasks_lib.escaping import COLOUR, escape_controls, escape_line, escape_unsafe, indent_rest
from tasks_lib.program_name import name_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from rich.progress import Progress

SCHEMA_VERSION = 1
"""Version of the JSON documents; raised when a field changes its meaning or is removed."""

QUIET_SECONDS = 1.0
"""How long a step may run before a pipe gets a line that it is running."""

PROGRESS_SECONDS = 5.0
"""How often a pipe gets a line on the progress of a step."""

_STYLE = f"\ufdd0{os.urandom(8).hex()}"
"""Replaces the ESC of our own styles until they are printed; random, so that foreign text cannot contain it."""

_PATCH_COLOURS = {"+": "32", "-": "31", "@": "36", " ": "", "\\": "", "": ""}
"""The colour (SGR) of a patch's line by its first character, as git has it; other lines are headers, and bold."""

_BAR = 24
"""Width of a full progress bar, in characters."""


def print_answer(text: str, end: str = "\n", *, exact: bool = False) -> None:
    """
    Print *text* on stdout; a reader that has closed the pipe (`| head`) does not count as a failure.

    Args:
        exact: Whether programs read the text, such as a patch or a path: only a terminal gets control characters
            escaped then.

    Raises:
        GoldentreeError: If the text cannot be written, for example to a full disk.
    """
    shown = text if exact and not in_terminal() else _reveal(text)
    try:
        try:
            print(shown, end=end, flush=True)
        except UnicodeEncodeError:
            # The locale lacks a character, or an exact text is not valid: print UTF-8, and the bytes of a name. In a
            # terminal of such a locale, the bytes of UTF-8 may be control characters.
            code = (sys.stdout.encoding, "backslashreplace") if in_terminal() else ("utf-8", "surrogateescape")
            sys.stdout.buffer.write(f"{shown}{end}".encode(*code))
            sys.stdout.flush()
    except OSError as error:
        silence(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise GoldentreeError(f"cannot write the answer to stdout: {error.strerror}") from None


def silence(stream: TextIO) -> None:
    """Send what *stream* still holds to nowhere: Python flushes it once more at exit, which would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def format_document(data: Any) -> str:
    """Return the JSON document for the answer *data*."""
    return _json({"schema_version": SCHEMA_VERSION, "data": data})


def format_error_document(error: GoldentreeError) -> str:
    """Return the JSON document for *error*."""
    described = {"code": error.kind, "message": error.what, "why": error.why or None, "hint": error.hint or None}
    return _json({"schema_version": SCHEMA_VERSION, "error": described})


def _json(value: Any) -> str:
    # JSON itself escapes C0 only.
    return escape_unsafe(
        json.dumps(value, indent=2, ensure_ascii=False, default=str), lambda sign: json.dumps(sign)[1:-1]
    )


def in_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()  # None if it is closed, as by `>&-`


def has_colours(*, terminal: bool) -> bool:
    """Whether colours are wanted, on a stream that is a *terminal*."""
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in {"dumb", "unknown"}


def _reveal(text: str) -> str:
    """Return *text* as it may reach a terminal: with our own styles, and no other control sequences."""
    return escape_controls(text).replace(_STYLE, "\x1b")


def colour_patch(patch: str) -> str:
    """Return *patch* with the colours of git, if stdout shows them. git's own cannot be told from those of a file."""
    if not has_colours(terminal=in_terminal()):
        return patch
    return "\n".join(
        f"{_STYLE}[{colour}m{line}{_STYLE}[m" if (colour := _PATCH_COLOURS.get(line[:1], "1")) else line
        for line in patch.split("\n")
    )


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a bug's traceback on stderr; to be assigned to `sys.excepthook`. Its texts are as foreign as any other."""
    print(escape_controls("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


@contextmanager
def show_while(format_text: Callable[[], str]) -> Iterator[None]:
    """
    Show a text in the terminal while the body runs, formatted again four times a second, and then remove it.

    If the text is taller than the terminal, its upper lines are printed once and stay, because lines that have scrolled
    away cannot be changed.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    room = max(console.height - 1, 1)
    if above := format_text().splitlines()[:-room]:
        print_answer("\n".join(above))
    with Live(
        get_renderable=lambda: Text.from_ansi(_reveal("\n".join(format_text().splitlines()[-room:]))),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


def format_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, spare: Sequence[str] = (), styles: Sequence[str] = ()
) -> str:
    """
    Return left-aligned columns, two spaces apart, without trailing blanks. Only cells of the last may have more lines.

    Args:
        headings: A name for each column.
        rows: A cell for each column.
        spare: The columns to leave out on a narrow terminal, in this order.
        styles: A Rich style for each row, used in a terminal.
    """
    lines = [tuple(headings), *((*map(escape_line, cells), escape_controls(last)) for *cells, last in rows)]
    if in_terminal():
        return _render(lines, list(spare), styles)
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)]
    margin = " " * sum(width + 2 for width in widths)
    starts = ("".join(map(_pad, cells, widths)) for *cells, _ in lines)
    return "\n".join(
        f"{start}{indent_rest(line[-1], margin)}".rstrip() for start, line in zip(starts, lines, strict=True)
    )


def _pad(cell: str, width: int) -> str:
    return f"{cell:{width + 2}}"


def _render(lines: list[tuple[str, ...]], spare: list[str], styles: Sequence[str]) -> str:
    """Return the table as Rich renders it; to fit the terminal, leave columns out, then wrap the widest one."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    kept = list(range(len(widths)))
    while spare and sum(widths[column] for column in kept) + 2 * (len(kept) - 1) > console.width:
        kept.remove(lines[0].index(spare.pop(0)))
    grid = Table.grid(padding=(0, 2, 0, 0))
    widest = max(kept, key=widths.__getitem__)
    for column in kept:
        grid.add_column(no_wrap=column != widest, overflow="fold")
    for line, style in zip_longest(lines, ["dim", *styles]):
        grid.add_row(*(Text(line[column]) for column in kept), style=style)
    with console.capture() as captured:
        console.print(grid)
    return "\n".join(line.rstrip() for line in captured.get().replace("\x1b", _STYLE).splitlines())


def format_pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Return `label  value` lines with the values aligned, also those of several lines."""
    rows = [(escape_line(label), value) for label, value in rows]
    width = max((len(label) for label, _ in rows), default=0)
    return "\n".join(f"{label.ljust(width)}  {indent_rest(value, ' ' * (width + 2))}".rstrip() for label, value in rows)


def format_size(count: int) -> str:
    """Return *count* bytes in a readable unit: `17 MB` (powers of 1024, as Postgres prints them)."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 10_240:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.0f} TB"


def format_first(items: Sequence[str], n: int) -> str:
    """Return the first *n* items, and the number of the others: `a, b and 3 more`."""
    shown = ", ".join(items[:n])
    return f"{shown} and {len(items) - n} more" if len(items) > n else shown


def format_sessions(count: int) -> str:
    """Return "1 session is connected" or "2 sessions are connected", to begin a sentence."""
    return f"{count} session{'s are' if count > 1 else ' is'} connected"


def format_age(seconds: float) -> str:
    """Return a duration in its largest fitting unit: `40 s`, `12 min`, `3 h`, `9 days`."""
    for unit, length in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < length:
            return f"{seconds:.0f} {unit}"
        seconds /= 24 if unit == "h" else 60
    return f"{seconds:.0f} days"


class Narrator:
    """
    Print progress on stderr.

    Args:
        moving: Whether to show running steps in place; by default when stderr is a terminal.
    """

    def __init__(self, *, moving: bool | None = None) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._moving = terminal if moving is None else moving
        self._colours = has_colours(terminal=terminal)
        self._progress: Progress | None = None
        self._running = 0
        self._measure: Callable[[str], None] | None = None
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """
        Print one line of narration; `inv` in a command becomes the name of the called program.

        Further lines are indented, so that none looks like one of ours.
        """
        self._print(name_program(indent_rest(text)))

    def _print(self, text: str) -> None:
        """Print a line. One that cannot be printed does not stop the command, least of all an undo."""
        if sys.stderr is None:  # closed, as by `2>&-`
            return
        try:
            with self._lock:
                if self._progress is not None:
                    self._progress.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
                else:
                    print(text, file=sys.stderr, flush=True)
        except OSError:  # its reader has gone (`2>&1 | head`), or its disk is full
            silence(sys.stderr)

    def relay(self, line: str) -> None:
        """Print one line that a child process printed; of its control sequences, a terminal gets the colours."""
        colours = COLOUR.findall(line) if self._colours else []
        texts = [escape_line(text) for text in COLOUR.split(line)]
        shown = "".join(text + colour for text, colour in zip_longest(texts, colours, fillvalue=""))
        self._print(f"  │ {shown}\x1b[m" if colours else f"  │ {shown}")

    def detail(self, text: str) -> None:
        """Print one line about the progress of a running step."""
        self.say(f"  … {text}")

    def progress(self, done: int, total: int) -> None:
        """Show progress in bytes: a bar on a terminal, a line every few seconds in a pipe."""
        filled = min(_BAR, _BAR * done // max(total, 1))
        self.update(f"{'━' * filled}{'─' * (_BAR - filled)} {format_size(done)} of about {format_size(total)}")

    def update(self, text: str) -> None:
        """Show how far the running step is: in place on a terminal, as a line every few seconds in a pipe."""
        if self._measure is not None:
            self._measure(text)

    @contextmanager
    def quietly(self, title: str) -> Iterator[None]:
        """Print *title* if the body takes longer than a second; print nothing when it ends."""
        hide = self._announce(title)
        try:
            yield
        finally:
            hide()

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """
        Show that *title* is running, then how long it took.

        Yields a list; remarks that the body appends to it are printed after the title.
        """
        notes: list[str] = []
        started = time.monotonic()
        hide = self._show(title)
        mark = "✗"
        try:
            yield notes
            mark = "✓"
        finally:
            self._measure = None
            hide()
            remarks = "".join(f" · {note}" for note in notes)
            self.say(f"{mark} {title}{remarks} ({time.monotonic() - started:.2f} s)")

    def _show(self, title: str) -> Any:
        """Show *title* as running, and return the function that removes it."""
        if not self._moving:
            self._measure = self._rarely(time.monotonic())
            return self._announce(title)
        # Takes 46 ms to import, so only where it is used.
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._progress is None:
                self._progress = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}", markup=False),
                    TimeElapsedColumn(),
                    console=Console(stderr=True),
                    transient=True,
                )
                self._progress.start()
            progress = self._progress
            row = progress.add_task(escape_line(title), total=None)
            self._running += 1

        def measure(text: str) -> None:
            progress.update(row, description=escape_line(f"{title}  {text}"))

        def hide() -> None:
            with self._lock:
                progress.remove_task(row)
                self._running -= 1
                if not self._running:
                    progress.stop()
                    self._progress = None

        self._measure = measure
        return hide

    def _rarely(self, last: float) -> Callable[[str], None]:
        """Return a function that prints at most one text in `PROGRESS_SECONDS`, counted from *last*."""

        def measure(text: str) -> None:
            nonlocal last
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                self.detail(text)

        return measure

    def _announce(self, title: str) -> Callable[[], None]:
        """Print *title* in a second, and return the function that cancels that."""
        timer = threading.Timer(QUIET_SECONDS, self.say, [f"… {title}"])
        timer.daemon = True
        with suppress(RuntimeError):  # no more threads: a line less, and the caller must still wait for its steps
            timer.start()
        return timer.cancel
