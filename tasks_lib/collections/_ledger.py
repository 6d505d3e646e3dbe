"""
Parse what the ledger's commands are given, and print its rows.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from tasks_lib.errors import Interrupted, LedgerError
from tasks_lib.plan import terminations_interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator


NOTHING_READY = 3
"""Exit status of a claim when no task is ready."""

AS_HELP = "Which agent you are, by name; not needed while this worktree has one agent."


def given(text: str) -> str:
    """
    Return a text as it was given to a command: `-` stands for what standard input holds.

    Raises:
        LedgerError: If that is no text.
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
        LedgerError: If it is closed, as `<&-` does it.
    """
    if sys.stdin is None:
        raise LedgerError("standard input is closed")
    return sys.stdin.buffer


def number(text: str, flag: str) -> int | None:
    """
    Return a number from 1 as it was given to *flag*, None where it was not.

    Raises:
        LedgerError: If it is none; Invoke's own conversion would end in a traceback.
    """
    if text and not (text.isdecimal() and int(text)):
        raise LedgerError(f"`{text}` in {flag} is no number from 1")
    return int(text) if text else None


@contextmanager
def interruptible(why: str, hint: str = "") -> Iterator[None]:
    """
    Say on Ctrl-C how things stand, and how to go on.

    Raises:
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP.
    """
    try:
        with terminations_interrupt():
            yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", why=why, hint=hint) from None


def documents(rows: Any) -> list[dict[str, Any]]:
    """Return the rows of a table for JSON."""
    from tasks_lib.ledger.schema import document

    return [document(row) for row in rows]
