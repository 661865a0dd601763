"""Commands that make training data, and describe it."""
