"""Scoring edited clips against their originals: clip sets, judges, scores and the report."""
