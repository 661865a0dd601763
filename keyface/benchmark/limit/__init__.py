"""How fast the arithmetic of an edit lets it be."""
