"""Measures what a training step takes, and what its parts take; stands on Lightning's modules."""
