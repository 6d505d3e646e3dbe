"""Whose a database is: ownership comments, locks, and what golden and this repository own."""
