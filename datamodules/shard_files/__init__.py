"""Shards: schema, index, reading, writing, streaming."""
