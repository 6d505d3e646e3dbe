"""
Choose the server: the one of DATABASE_URL, else the embedded one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_lib.databases.server.connection import Server, require_psycopg
from tasks_lib.databases.server.url import DatabaseUrl
from tasks_lib.errors import ServerError
from tasks_lib.waits import say

if TYPE_CHECKING:
    from tasks_lib.settings import Settings

_EMBEDDED = "the embedded server's URL"
"""How errors name it."""


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

    return Server(DatabaseUrl.parse(Cluster(default_root()).start(say), source=_EMBEDDED))


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
        if (url := Cluster(default_root()).find_url()) is None:
            raise ServerError("the embedded server is not running", hint="inv server.start")
        return Server(DatabaseUrl.parse(url, source=_EMBEDDED))
    return configured_server(settings)
