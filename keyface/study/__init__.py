"""Opinion studies (paper §5.7, Table 3): a page where people rate edits blind, and what they say."""
