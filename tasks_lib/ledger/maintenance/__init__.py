"""Backups of the ledger and checks of its integrity."""
