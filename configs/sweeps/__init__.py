"""Searches over trainings for `wandb sweep`."""
