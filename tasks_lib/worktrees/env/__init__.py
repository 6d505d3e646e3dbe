"""Env files: read, edited in place, and checked before a tool runs."""
