"""The repository that owns databases in tests that have no git repository."""

from __future__ import annotations

from tasks_lib.databases.ownership.signer import Signer

SIGNER = Signer("repo", b"k" * 32)

OTHER = Signer("another", b"o" * 32)
"""Another repository on the same server."""
