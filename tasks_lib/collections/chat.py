"""Chats in which a phase or task is refined."""

from __future__ import annotations
