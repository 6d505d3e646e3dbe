"""
Choose the server: the one of DATABASE_URL, else the embedded one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from tasks_lib.databases.server.connection import SILENCE_SECONDS, Server, require_psycopg
from tasks_lib.databases.server.url import EMBEDDED, DatabaseUrl
from tasks_lib.errors import ServerError
from tasks_lib.waits import QUIET_SECONDS, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tasks_lib.settings import Settings

T = TypeVar("T")


def configured_server(settings: Settings) -> Server:
    """
    Return the configured server; without a DATABASE_URL, start the embedded one.

    Raises:
        SettingsError: If DATABASE_URL cannot be used.
        ServerError: If the embedded server cannot be started.
    """
    require_psycopg()
    if settings.database_url is not None:
        origin = settings.origins["database_url"]
        # Where other variables make the URL, errors name them.
        source = origin if " in " in origin else "DATABASE_URL"
        return Server(DatabaseUrl.parse(settings.database_url, source=source))
    from tasks_lib.databases.server.embedded.cluster import Cluster, default_root

    cluster = Cluster(default_root())
    return Server(DatabaseUrl.parse(_ask_once(cluster.root, lambda: cluster.start(say)), source=EMBEDDED))


def named_server(settings: Settings) -> Server:
    """
    Return the configured server for callers that only write its URL: the embedded one is not started.

    Raises:
        SettingsError: If DATABASE_URL cannot be used.
        ServerError: If the embedded server's directory cannot be used.
    """
    if settings.database_url is not None:
        return configured_server(settings)
    from tasks_lib.databases.server.embedded.cluster import Cluster, default_root

    require_psycopg()
    return Server(DatabaseUrl.parse(Cluster(default_root()).choose_url(), source=EMBEDDED))


def running_server(settings: Settings) -> Server:
    """
    Return the configured server for callers that only read: the embedded one is not started.

    Raises:
        SettingsError: If DATABASE_URL cannot be used.
        ServerError: If the embedded server is not running, or cannot be reached from here.
    """
    if settings.database_url is None:
        from tasks_lib.databases.server.embedded.cluster import Cluster, default_root

        require_psycopg()
        cluster = Cluster(default_root())
        if (url := _ask_once(cluster.root, cluster.find_url)) is None:
            raise ServerError("the embedded server is not running", hint="inv server.start")
        return Server(DatabaseUrl.parse(url, source=EMBEDDED))
    return configured_server(settings)


_silent: dict[Path, tuple[float, ServerError]] = {}
"""The roots of embedded servers that did not answer: when, and the error."""


def _ask_once(root: Path, ask: Callable[[], T]) -> T:
    """Return what *ask* returns. Where that failed after a wait, do not ask again: a command waits once."""
    began = time.monotonic()
    since, error = _silent.get(root, (0.0, None))
    if error is not None and began - since < SILENCE_SECONDS:
        raise ServerError(error.what, why=error.why, hint=error.hint)
    try:
        return ask()
    except ServerError as failure:
        if time.monotonic() - began > QUIET_SECONDS:
            _silent[root] = time.monotonic(), failure
        raise
