"""CelebA-HQ, from its published files to samples."""
