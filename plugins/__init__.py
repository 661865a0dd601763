"""Edit categories and their registry."""
