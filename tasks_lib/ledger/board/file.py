"""
Write the page to a file.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from tasks_lib.errors import LedgerError
from tasks_lib.files import atomic_write
from tasks_lib.ledger.board.page import GENERATOR

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = 4096
"""The generator tag is within this many bytes."""


def write(page: str, path: Path) -> None:
    """
    Write *page* to *path* atomically, replacing only an earlier page.

    Only its owner can read it, as with the ledger.

    Raises:
        LedgerError: If *path* is another file, or cannot be written.
    """
    try:
        if path.exists() and GENERATOR.encode() not in _head(path):
            raise LedgerError(f"`{path}` exists and is not a board", hint="move it, or choose another file with --out")
        # Paths can contain bytes that are not valid text; escape them.
        atomic_write(path, page.encode("utf-8", "xmlcharrefreplace"))
    except OSError as error:
        cure = (
            f"mkdir -p {quote(str(path.parent))}"
            if isinstance(error, FileNotFoundError)
            else "check permissions and free space"
        )
        raise LedgerError(f"`{path}` cannot be written: {error.strerror}", hint=cure) from None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)
