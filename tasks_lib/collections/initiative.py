"""Goals, and the projects that they work on."""

from __future__ import annotations
