"""
Write the files that a repository needs for these tasks and for the tools that call them.

`table` lists the templates, `detect` finds the values to fill in, and `write` writes the files that do not exist.
"""
