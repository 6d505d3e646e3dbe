"""The Postgres side: servers, ownership, clones."""
