"""
Identity: every name that belongs to a worktree, derived once from its branch.

`feat/oauth_v2` gives slug `oauth_v2_b2b4c8`, database `loquent_oauth_v2_b2b4c8`, subdomain
`oauth-v2`, browser session `loquent-oauth_v2_b2b4c8`, dev URL `https://oauth-v2.loquent.localhost`.
Derived at creation, written into the registry and the worktree's env file, read from there ever
after: `git branch -m` and `git worktree move` change nothing.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

DATABASE_BYTES = 63
"""PostgreSQL cuts longer names off, silently, on creation and on connection alike (NAMEDATALEN - 1)."""

LABEL_CHARACTERS = 63
"""The longest DNS label (RFC 1035, 2.3.4)."""

HASH_CHARACTERS = 6


@dataclass(frozen=True)
class Identity:
    """
    The names of one worktree; see the module.

    Attributes:
        branch: The branch's name at creation, the slug if HEAD was detached.
        slug: Readable part and hash, `[a-z0-9_]+`, unique for the branch.
        subdomain: A DNS label.
        database: At most 63 bytes.
        session: The browser session's name.
        dev_url: Where a local proxy serves the worktree.
    """

    branch: str
    slug: str
    subdomain: str
    database: str
    session: str
    dev_url: str


def derive(branch: str, *, project: str, prefix: str, taken_subdomains: Container[str] = ()) -> Identity:
    """
    Derive the identity of *branch*.

    Args:
        branch: Full branch name, `feat/oauth_v2`.
        project: The repository's name, `[a-z0-9_]+`.
        prefix: How the database's name begins, at most 40 bytes of `[a-z0-9_]`.
        taken_subdomains: Those of the siblings; where the plain one is among them, the hash is added.

    The readable part is cut where a name would grow too long, the hash never.
    """
    digest = hashlib.sha1(branch.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()[:HASH_CHARACTERS]
    words = _words(branch.rpartition("/")[2]) or _words(branch) or "branch"
    room = DATABASE_BYTES - len(prefix) - len(digest) - 2
    slug = f"{words[:room].rstrip('_')}_{digest}"
    label = words.replace("_", "-")
    subdomain = label[:LABEL_CHARACTERS].rstrip("-")
    if subdomain in taken_subdomains:
        subdomain = f"{label[: LABEL_CHARACTERS - len(digest) - 1].rstrip('-')}-{digest}"
    host = f"{subdomain}.{project.replace('_', '-')[:LABEL_CHARACTERS].rstrip('-')}.localhost"
    return Identity(
        branch=branch,
        slug=slug,
        subdomain=subdomain,
        database=f"{prefix}_{slug}",
        session=f"{project}-{slug}",
        dev_url=f"https://{host}",
    )


def companion_database(name: str, slug: str) -> str:
    """
    Return the name of the worktree *slug*'s companion database *name*; at most 63 bytes, the hash whole.

    Args:
        name: The companion's, at most 40 bytes of `[a-z0-9_]`.
    """
    words, _, digest = slug.rpartition("_")
    room = DATABASE_BYTES - len(name) - len(digest) - 2
    return f"{name}_{words[:room].rstrip('_')}_{digest}"


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
