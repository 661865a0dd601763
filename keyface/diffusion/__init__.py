"""Inversion, attention injection, keyframes and propagation: the editing engine."""
