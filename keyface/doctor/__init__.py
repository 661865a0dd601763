"""What can be done on this machine, what is missing for the rest, and what brings it."""
