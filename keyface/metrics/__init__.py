"""Identity, temporal, direction and locality metrics."""
