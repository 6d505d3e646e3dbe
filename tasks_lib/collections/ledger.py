"""The agents' shared database: status, backup, board."""

from __future__ import annotations
