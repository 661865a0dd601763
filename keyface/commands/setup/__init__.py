"""Commands about this machine: what works here, and which weights are here."""
