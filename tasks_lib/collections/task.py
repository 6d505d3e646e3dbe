"""The work queue: tasks that wait for each other, claimed by one agent each."""

from __future__ import annotations
