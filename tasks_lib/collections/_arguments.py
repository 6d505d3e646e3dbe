"""
Parse the arguments of the ledger's tasks.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from tasks_lib.errors import Interrupted, LedgerError
from tasks_lib.plan import terminations_interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING_READY = 3
"""Exit status of a claim when no task is ready."""

AS_HELP = "Which agent you are, by name; optional while this worktree has one agent."


def read_text(text: str) -> str:
    """
    Return *text*, or the contents of standard input if it is `-`.

    Raises:
        LedgerError: If standard input is closed or is not UTF-8.
    """
    if text != "-":
        return text
    try:
        return standard_input().read().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise LedgerError("standard input is not UTF-8 text") from None


def standard_input() -> BinaryIO:
    """
    Return standard input.

    Raises:
        LedgerError: If it is closed (`<&-`).
    """
    if sys.stdin is None:
        raise LedgerError("standard input is closed")
    return sys.stdin.buffer


def positive_int(text: str, flag: str) -> int | None:
    """
    Return the value of *flag* as an integer, None if it was not passed.

    Flags are parsed here because Invoke's own conversion ends in a traceback.

    Raises:
        LedgerError: If *text* is not an integer above zero.
    """
    if text and not (text.isdecimal() and int(text)):
        raise LedgerError(f"{flag} must be a positive integer, not `{text}`")
    return int(text) if text else None


def split_commas(text: str) -> list[str]:
    """Split *text* at commas, and drop blanks and empty items."""
    return [word for part in text.split(",") if (word := part.strip())]


@contextmanager
def interruptible(why: str, hint: str = "") -> Iterator[None]:
    """
    Turn Ctrl-C in the body into an error that says what is kept and how to continue.

    Raises:
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP.
    """
    try:
        with terminations_interrupt():
            yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", why=why, hint=hint) from None
