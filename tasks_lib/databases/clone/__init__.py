"""Clones, snapshots and spares: built, published, parked and cleaned up."""
