"""A PostgreSQL server: its URL, connections, client programs, and the embedded server."""
