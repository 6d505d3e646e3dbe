"""Messages between agents and the user."""

from __future__ import annotations
