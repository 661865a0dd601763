"""Reading and writing video files frame by frame, with exact time stamps and the audio kept."""

from keyface.video.reader import VideoReader
from keyface.video.writer import VideoWriter, write_clip

__all__ = ["VideoReader", "VideoWriter", "write_clip"]
