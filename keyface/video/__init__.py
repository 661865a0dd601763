"""Reading and writing video files frame by frame, with exact time stamps and what else they hold kept."""

from keyface.video.encoding import Encoding
from keyface.video.reader import VideoReader
from keyface.video.still_writer import StillWriter
from keyface.video.writer import VideoWriter, open_writer, write_clip

__all__ = ["Encoding", "StillWriter", "VideoReader", "VideoWriter", "open_writer", "write_clip"]
