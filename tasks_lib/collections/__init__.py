"""
The commands: one module per noun, without logic.
"""

from __future__ import annotations

from invoke.collection import Collection

from tasks_lib.collections import _task, config, db, demo, doctor, golden, init, server, worktree
from tasks_lib.collections.ledger import (
    account,
    agent,
    chat,
    errand,
    initiative,
    ledger,
    message,
    page,
    phase,
    proposal,
    review,
    task,
)

LEDGER = (task, phase, initiative, agent, errand, review, proposal, page, chat, message, account, ledger)

ns = Collection(
    Collection.from_module(worktree, auto_dash_names=True),
    Collection.from_module(db),
    Collection.from_module(golden),
    Collection.from_module(server),
    Collection.from_module(config),
    *(Collection.from_module(module, auto_dash_names=True) for module in LEDGER),
)
ns.add_task(init.init)
ns.add_task(doctor.doctor)
ns.add_task(demo.demo)
_task.OptionalPositional.other_tasks = frozenset(ns.task_names)
