"""Reading and writing video files frame by frame, with exact time stamps and what else they hold kept.

Imported lazily: `Encoding` is part of a command line, whose `--help` needs no torch.
"""

from typing import TYPE_CHECKING

from keyface.lazy import lazily

if TYPE_CHECKING:
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

_HOMES = {
    "Encoding": "keyface.video.encoding",
    "StillReader": "keyface.video.stills",
    "StillWriter": "keyface.video.still_writer",
    "VideoReader": "keyface.video.reader",
    "VideoWriter": "keyface.video.writer",
    "open_video": "keyface.video.stills",
    "open_writer": "keyface.video.writer",
    "parse_time": "keyface.video.times",
    "read_still": "keyface.video.stills",
    "write_clip": "keyface.video.writer",
}

__getattr__ = lazily(__name__, _HOMES)
