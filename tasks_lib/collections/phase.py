"""Stages of an initiative."""

from __future__ import annotations
