"""Weights of the miniature's networks, as safetensors with a card each."""
