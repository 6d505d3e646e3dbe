"""Comments on a phase's diff."""

from __future__ import annotations
