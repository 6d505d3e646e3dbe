"""
Find a project's migration tool, compare its migrations with a database, and run it.

`base` says what a toolchain is, `presets` has a module for each tool, and `catalog` finds the one that a repository
uses. `choose` turns settings into commands, and `environment` and `run` run them. `Toolchain.drift` compares a branch's
migrations with the migration history of a database.
"""
