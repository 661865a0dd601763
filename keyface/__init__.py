"""keyface: edit faces in video by text while the person stays the same person."""

__version__ = "0.2.0"
