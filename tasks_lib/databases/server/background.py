"""
Repeat something in a thread while something else runs.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def repeat_in_background(action: Callable[[], object], *, seconds: float) -> Iterator[None]:
    """Call *action*, which handles its errors, every *seconds* during the body; the body ends after its last call."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
