"""
The project's own migration and code-generation tool: found, asked what it would do, and run.

`choose` turns settings into commands, `environment` and `run` run them, and a toolchain's `drift`
compares a branch's migrations with the ledger of a database.
"""
