"""LightningModules of the two branches and of the miniature's own networks."""
