"""Tools for authors of edit categories: a package to begin with, edits of a few faces, a search."""
