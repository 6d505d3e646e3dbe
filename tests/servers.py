"""Disposable servers for tests."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tasks_lib.databases.server.embedded.disposable import disposable_server


@contextmanager
def quick_server(programs):
    """
    Run a disposable server, whose superuser logs in with one round of SCRAM, and give its URL.

    PostgreSQL's default of 4096 rounds is most of what a login costs: 5 ms of CPU, for tens of thousands of logins.
    """
    with disposable_server(programs) as url:
        login, salt = conninfo_to_dict(url), b"salt"
        salted = hashlib.pbkdf2_hmac("sha256", login["password"].encode(), salt, 1)
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        keys = [b64encode(key).decode() for key in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
        secret = "SCRAM-SHA-256$1:{}${}:{}".format(*keys)
        with psycopg.connect(url) as connection:
            connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{secret}'")
        yield url
