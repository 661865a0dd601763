"""What ε2 learns beside Eq. 6, and what of: pairs, regions, the edits that are drawn for a batch."""
