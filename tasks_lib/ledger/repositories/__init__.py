"""
The repositories: reading and writing rows, a file for each area of the schema.
"""
