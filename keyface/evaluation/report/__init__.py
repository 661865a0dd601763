"""The report: HTML, JSON, CSV, LaTeX, plots."""
