"""The parts of `keyface miniature train`: the miniature's networks, one after another, in a given time."""
