"""Agents: registration, liveness, conversations, logs."""
