"""Which clips are edited and scored, and what is known of them."""
