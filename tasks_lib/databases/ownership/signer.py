"""
Sign for one repository with a secret key, so that no other database role can speak for it.

Every role can read the comments on all databases and write any comment on its own, and can take any advisory lock whose
key it can compute. What an ownership comment proves, and the keys of advisory locks, therefore come from the key.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

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

    def lock_key(self, name: str) -> int:
        """Return the key of the advisory lock *name*, which no other role can compute."""
        return int.from_bytes(self._digest(f"lock {name}")[:8], signed=True)

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self.key, text.encode(), hashlib.sha256)


def public_lock_key(name: str) -> int:
    """Return the key of the advisory lock *name* that all repositories share; every role can compute it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
