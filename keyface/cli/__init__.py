"""The command line: `keyface` and `lightning`."""
