"""Ablations and multi-edits for `keyface evaluate`."""
