"""Rows of the table: keyface's edits, other methods' outputs, controls."""
