"""Removal: the checks that refuse to lose work, the record that undo reads, the steps."""
