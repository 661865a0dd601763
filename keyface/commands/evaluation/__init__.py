"""Commands that score edits: reports, ablations, opinion studies."""
