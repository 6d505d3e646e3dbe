"""
The surface: one module per noun, thin tasks, no logic.
"""

from __future__ import annotations

from invoke.collection import Collection

from tasks_lib.collections import config, db, demo, doctor, golden, scaffold, server, worktree

ns = Collection(
    Collection.from_module(worktree, auto_dash_names=True),
    Collection.from_module(db),
    Collection.from_module(golden),
    Collection.from_module(server),
    Collection.from_module(config),
)
ns.add_task(scaffold.init)
ns.add_task(doctor.doctor)
ns.add_task(demo.demo)
