"""LightningModules of the miniature's own networks."""
