"""Frames made of two fields, of odd and even rows at two moments, become frames of one moment."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Literal, TypeAlias

import av
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

Stamped: TypeAlias = tuple[int | None, VideoFrame | None]
"""Time stamp and frame; None in the place of the frame where it is damaged."""

_FIRST_SHOWN: dict[int, Literal["tff", "bff"]] = {2: "tff", 5: "tff", 3: "bff", 4: "bff"}
"""The field that is shown first, by FFmpeg's numbers of orders of fields (AVFieldOrder)."""


def declared_fields(stream: VideoStream) -> Literal["tff", "bff"] | None:
    """Return which field a stream shows first by the file's word; None: it has no fields."""
    return _FIRST_SHOWN.get(stream.codec_context.field_order)


def deinterlace(
    frames: Iterable[Stamped], declared: Literal["tff", "bff"] | None, told: Callable[[int | None], None]
) -> Iterator[Stamped]:
    """Yield as many frames as come, each as it looked at the time of its first field.

    FFmpeg's bwdif is used from the first frame on that says to be interlaced; frames that do not are left as
    they are, unless the file calls all of them so.

    Args:
        frames: Decoded frames in the order in which they are shown.
        declared: The file's word for all frames.
        told: Called with the time stamp of the first interlaced frame.
    """
    filtering: _Bwdif | None = None
    for stamp, frame in frames:
        if filtering is None and (frame is None or not (declared or frame.interlaced_frame)):
            yield stamp, frame
            continue
        if filtering is None:
            told(stamp)
        if frame is not None and (filtering is None or not filtering.takes(frame)):
            if filtering is not None:
                yield from filtering.finish()
            whole = declared if not frame.interlaced_frame else None
            filtering = _Bwdif(frame, whole)
        assert filtering is not None
        yield from filtering.add(stamp, frame)
    if filtering is not None:
        yield from filtering.finish()


class _Bwdif:
    """The filter for frames of one size and format; it looks one frame ahead."""

    def __init__(self, like: VideoFrame, declared: Literal["tff", "bff"] | None) -> None:
        self._kind = _kind(like)
        self._frames = 0
        self._waiting: deque[tuple[int | None, bool]] = deque()
        self._done: deque[VideoFrame] = deque()
        self._graph = Graph()
        source = self._graph.add(
            "buffer",
            video_size=f"{like.width}x{like.height}",
            pix_fmt=like.format.name,
            time_base="1/1",
            colorspace=str(int(like.colorspace)),
            range=str(int(like.color_range)),
        )
        which = {"parity": declared, "deint": "all"} if declared else {"deint": "interlaced"}
        bwdif = self._graph.add("bwdif", mode="send_frame", **which)
        self._graph.link_nodes(source, bwdif, self._graph.add("buffersink")).configure()

    def takes(self, frame: VideoFrame) -> bool:
        """Return whether a frame has the same size and format as those before."""
        return _kind(frame) == self._kind

    def add(self, stamp: int | None, frame: VideoFrame | None) -> Iterator[Stamped]:
        """Take in a frame and yield those that are ready."""
        self._waiting.append((stamp, frame is not None))
        if frame is not None:
            frame.pts, frame.time_base = self._frames, Fraction(1)
            self._frames += 1
            self._graph.vpush(frame)
        return self._ready()

    def finish(self) -> Iterator[Stamped]:
        """Yield the frames that are still held back."""
        self._graph.vpush(None)
        return self._ready()

    def _ready(self) -> Iterator[Stamped]:
        try:
            while True:
                self._done.append(self._graph.vpull())
        except (av.error.BlockingIOError, av.error.EOFError):
            pass
        while self._waiting and (self._done or not self._waiting[0][1]):
            stamp, is_whole = self._waiting.popleft()
            yield stamp, self._done.popleft() if is_whole else None


def _kind(frame: VideoFrame) -> tuple[object, ...]:
    return frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range)
