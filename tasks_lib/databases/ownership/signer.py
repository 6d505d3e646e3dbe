"""
Sign for one repository with a secret key, so that no other database role can speak for it.

Every role can read the comments on all databases and write any comment on its own, and can take any advisory lock whose
key it can compute. The proof in an ownership comment and the keys of advisory locks therefore come from a secret key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_BYTES = 32


@dataclass(frozen=True)
class Signer:
    """
    A repository that signs.

    Attributes:
        repository: Its id, which ownership comments name.
        key: Random bytes that only this repository has. Never printed, and in no worktree.
    """

    repository: str
    key: bytes = field(repr=False, compare=False)

    def sign(self, server: int, oid: int, fields: Mapping[str, Any]) -> str:
        """
        Return the proof that this repository wrote *fields* on one database.

        Args:
            server: The server's system identifier, because an oid is unique only on one server.
            oid: The database's oid, which a rename keeps, and which no other database gets.
            fields: All fields of the ownership comment, except the proof.
        """
        signed = {"server": server, "oid": oid, "comment": dict(fields)}
        return self._digest(f"comment {json.dumps(signed, sort_keys=True)}").hex()

    def has_signed(self, proof: str, server: int, oid: int, fields: Mapping[str, Any]) -> bool:
        """Whether *proof* is what `sign` returns."""
        return hmac.compare_digest(proof.encode(errors="replace"), self.sign(server, oid, fields).encode())

    def lock_key(self, name: str) -> int:
        """Return the key of the advisory lock *name*, which no other role can compute."""
        return int.from_bytes(self._digest(f"lock {name}")[:8], signed=True)

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self.key, text.encode(), hashlib.sha256)


def public_lock_key(name: str) -> int:
    """Return the key of the advisory lock *name* that all repositories share; every role can compute it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
