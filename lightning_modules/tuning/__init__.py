"""What is trained: adapters, averages, checkpoints, sharding."""
