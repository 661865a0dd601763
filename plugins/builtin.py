"""Built-in edit categories."""
