"""The parts of `keyface demo`."""
