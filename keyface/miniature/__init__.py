"""The miniature: a rendered world of faces with exact ground truth, and small networks trained on it."""
