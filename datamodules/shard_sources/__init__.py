"""Where shards lie: on the disk, or behind URLs with a cache before them."""
