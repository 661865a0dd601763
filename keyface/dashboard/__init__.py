"""Dashboards of training runs: one HTML file from the runs' own folders, and a report in W&B."""
