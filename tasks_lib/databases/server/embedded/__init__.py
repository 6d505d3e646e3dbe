"""The embedded server: real PostgreSQL for machines that have none, and for tests."""
