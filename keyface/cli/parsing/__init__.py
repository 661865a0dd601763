"""From words on the command line and in configs to typed arguments."""
