"""Configurations that train the miniature's networks."""
