"""What tasks in the tests' own process need not do for real."""

from __future__ import annotations

from functools import partial

import argon2
import pytest


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch):
    """Hash passwords in 1 ms, not in the 300 ms of CPU that make them hard to guess: a hash names its own cost."""
    monkeypatch.setattr(
        argon2, "PasswordHasher", partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    )
