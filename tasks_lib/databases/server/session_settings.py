"""
The settings with which every session of ours begins, whatever the server, the database or the role sets.

They go into the start-up packet: its settings outrank those of ALTER DATABASE and ALTER ROLE (guc.h, GucSource), which
golden's owner may write, and they are in force before the first statement.
"""

from __future__ import annotations

SEARCH_PATH = "pg_catalog,pg_temp"
"""
PostgreSQL's own schema alone.

In any other, another role may have made a function or an operator that fits a statement of ours better than
PostgreSQL's own, and it would run as our role (CVE-2018-1058).
"""

_SETTINGS = {
    "local_preload_libraries": "",
    # A row-level policy would run its owner's functions as our role, and hide rows: fail instead.
    "row_security": "off",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": r"read\ committed",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "exit_on_error": "off",
    "client_min_messages": "warning",
    # What values look like in texts that we compare, and in a dump that is restored.
    "bytea_output": "hex",
    "DateStyle": "ISO",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
}

_NEWER_SETTINGS = {"idle_session_timeout": (140_000, "0"), "transaction_timeout": (170_000, "0")}
"""Settings that not every supported version knows: since which version, and the value."""


def format_options(own: str, version: int = 0, *, read_only: bool = False, search_path: str = SEARCH_PATH) -> str:
    """
    Return the session's options in the form of libpq's `options` and of PGOPTIONS.

    Args:
        own: The user's own options. A role in them is used; what would change the meaning of our statements is not.
        version: The server's version; 0 if unknown, which leaves out what not every version knows.
        read_only: Whether transactions may not write.
        search_path: Empty for that of the user's programs.
    """
    settings = _SETTINGS | {name: value for name, (since, value) in _NEWER_SETTINGS.items() if version >= since}
    if read_only:
        settings["default_transaction_read_only"] = "on"
    if search_path:
        settings["search_path"] = search_path
    # The last value of a setting wins. `role` may also be set by ALTER DATABASE, to a role that lacks our rights.
    return " ".join(["-c role=none", own, *(f"-c {name}={value}" for name, value in settings.items())])


def newer_settings(version: int) -> str:
    """Return the statements for what `format_options` leaves out for an unknown version; empty if nothing."""
    return "; ".join(f"SET {name} = {value}" for name, (since, value) in _NEWER_SETTINGS.items() if version >= since)
