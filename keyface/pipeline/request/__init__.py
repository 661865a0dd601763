"""What a user asks for: the video, whose face, how it is cut out, and where the output goes."""
