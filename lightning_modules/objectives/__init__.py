"""What ε2 learns: which edits are drawn for a batch, and pairs and regional guidance, beside Eq. 6."""
