"""Time and memory of a training step and of its parts."""
