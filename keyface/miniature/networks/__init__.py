"""Networks of the miniature: small members of the classes that the full-size path uses."""
