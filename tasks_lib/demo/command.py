"""Run an entry point and return its exit status."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from tasks_lib.errors import GoldentreeError

if TYPE_CHECKING:
    from collections.abc import Callable


def exit_status(body: Callable[[], None]) -> int:
    """Run *body*; return 0, 1 after an expected failure, which is printed, or 130 after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Otherwise a closed terminal would leave the server running.
        signal.signal(number, signal.default_int_handler)
    try:
        body()
    except GoldentreeError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
