"""From a face's parameters to pixels, labels, landmarks and motion."""
