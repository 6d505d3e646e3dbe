"""
The files that a repository needs to be worked in by these tasks, and by the tools that call them.

`templates` is the table of them, `detect` finds out what to fill in, `write` writes what is not there.
"""
