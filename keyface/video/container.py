"""Opening media files without trusting them, and decoding them without overlooking damage."""

import os
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

UNTRUSTED = {"protocol_whitelist": "file", "format_whitelist": "mov,mp4,matroska,webm,avi"}
"""Open options: no playlists or network protocols, so that a file can only name itself."""


def open_container(path: Path) -> InputContainer:
    """Open a local media file for reading without trusting it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no media file, or its index is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such video file")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path}: the file is empty (zero bytes)")
    try:
        return av.open(str(path.resolve()), mode="r", container_options=UNTRUSTED)
    except av.error.FFmpegError as error:
        with path.open("rb") as file:
            is_mp4 = file.read(12)[4:8] == b"ftyp"
        advice = (
            "its index (moov) is missing, so it was cut off while being written; get it again, or repair it "
            "by a remux: ffmpeg -i IN -c copy OUT.mp4"
            if is_mp4
            else "not a video that keyface reads (mp4, mov, mkv, webm, avi)"
        )
        raise ValueError(f"{path}: {advice}") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first moving-picture stream (cover art is a video stream too).

    Raises:
        ValueError: There is none, or the file does not say how it is encoded.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            # A file that was cut off before its first frame has none, which PyAV's types do not admit.
            if getattr(stream, "codec_context", None) is None:
                raise ValueError(f"{path}: its video is damaged: it cannot be told how it is encoded")
            stream.thread_type = "AUTO"
            return stream
    raise ValueError(f"{path}: no video stream in it (audio only)")


def decode(
    container: InputContainer, stream: VideoStream, path: Path
) -> Iterator[tuple[int | None, VideoFrame | None]]:
    """Yield (time stamp, frame) in display order; (time stamp, None) stands for a damaged frame.

    Raises:
        ValueError: The file cannot be read on.
    """
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                yield packet.pts, None
                continue
            for frame in frames:
                yield frame.pts, None if frame.is_corrupt else frame
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: cannot be read on: {error.strerror}") from error


def last_packet_end(container: InputContainer) -> Fraction:
    """Return when the last packet of any stream ends, in seconds."""
    return max(
        (
            ((packet.pts if packet.pts is not None else packet.dts or 0) + (packet.duration or 0))
            * packet.time_base
            for packet in container.demux()
        ),
        default=Fraction(0),
    )


def upright_rotation(frame: VideoFrame, path: Path) -> int:
    """Return the degrees, counter-clockwise and in [0, 360), that turn a decoded frame upright."""
    rotation = int(frame.rotation) % 360
    if rotation % 90:
        warnings.warn(
            f"{path}: rotation by {rotation}° ignored, only quarter turns are applied", stacklevel=4
        )
        return 0
    return rotation
