"""Reading and writing video files frame by frame, with exact time stamps and what else they hold kept."""

from keyface.video.encoding import Encoding
from keyface.video.reader import VideoReader
from keyface.video.still_writer import StillWriter
from keyface.video.stills import StillReader, open_video, read_still
from keyface.video.times import parse_time
from keyface.video.writer import VideoWriter, open_writer, write_clip

__all__ = [
    "Encoding",
    "StillReader",
    "StillWriter",
    "VideoReader",
    "VideoWriter",
    "open_video",
    "open_writer",
    "parse_time",
    "read_still",
    "write_clip",
]
