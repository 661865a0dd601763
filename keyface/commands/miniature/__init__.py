"""`keyface miniature` and `keyface demo`: the rendered world and its networks."""
