"""What agents propose to change."""

from __future__ import annotations
