"""Logins that take turns."""

from __future__ import annotations
