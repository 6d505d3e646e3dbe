"""
The file that a page goes into.
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
"""Within how many bytes a page says whose it is."""


def write(page: str, path: Path) -> None:
    """
    Write *page* to *path*, in place of an earlier page and of nothing else; who reads it meanwhile sees one of the two.

    Others than its owner cannot read it, as they cannot read the ledger.

    Raises:
        LedgerError: If there is another file, or it cannot be written.
    """
    try:
        if path.exists() and GENERATOR.encode() not in _head(path):
            raise LedgerError(
                f"`{path}` is no board, so it is not replaced", hint="move it away, or name another one with --out"
            )
        # A path may hold bytes that are no text; in the page they are marked as such.
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
