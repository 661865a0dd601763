"""Templates (jinja2) of a plugin package's files."""
