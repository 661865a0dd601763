"""Marks that tell people and programs that a file was edited: signed content credentials, a visible label."""
