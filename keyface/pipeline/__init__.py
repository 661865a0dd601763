"""Networks with their defaults, and the way from a video file to a video file."""
