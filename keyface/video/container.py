"""Opening media files without trusting them, and decoding them without overlooking damage."""

import os
from collections.abc import Iterator
from heapq import heappop, heappush
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
        # Tags need not be UTF-8; what is not stays as marks in them.
        return av.open(str(path.resolve()), mode="r", container_options=UNTRUSTED, metadata_errors="replace")
    except av.error.FFmpegError as error:
        with path.open("rb") as file:
            is_mp4 = file.read(12)[4:8] == b"ftyp"
        advice = (
            "its index (moov) is missing, so it was cut off while being written, and without it the frames "
            "cannot be found; get it again, from the camera or the download"
            if is_mp4
            else "not a video that keyface reads (mp4, mov, mkv, webm, avi)"
        )
        raise ValueError(f"{path}: {advice}") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the moving pictures that players show: the default stream, else the first that is no cover art.

    Raises:
        ValueError: There is none, or the file does not say how it is encoded.
    """
    moving = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not moving:
        raise ValueError(f"{path}: no video stream in it (audio only)")
    stream = next((each for each in moving if each.disposition & Disposition.default), moving[0])
    # A file that was cut off before its first frame has none, which PyAV's types do not admit.
    if getattr(stream, "codec_context", None) is None:
        raise ValueError(f"{path}: its video is damaged: it cannot be told how it is encoded")
    stream.thread_type = "AUTO"
    return stream


def decode(
    container: InputContainer, stream: VideoStream, path: Path
) -> Iterator[tuple[int | None, VideoFrame | None]]:
    """Yield (time stamp, frame) in display order; (time stamp, None) stands for a damaged frame.

    Frames after a damaged one count as damaged until the next key frame, for they are predicted from it.

    Raises:
        ValueError: The file cannot be read on.
    """
    clean = True
    for stamp, frame in _decode(container, stream, path):
        clean = frame is not None and (clean or frame.key_frame)
        yield stamp, frame if clean else None


def _decode(
    container: InputContainer, stream: VideoStream, path: Path
) -> Iterator[tuple[int | None, VideoFrame | None]]:
    """Yield what the decoder gives, and None for frames that it says are damaged or that it leaves out.

    A decoder may report an error some packets late. So the time of a frame that it leaves out is found by
    comparing the time stamps of packets with those of frames. Some decoders leave out frames that are not to
    be shown; only HEVC's leaves out damaged ones without an error, and at its beginning those that are
    predicted from before.
    """
    tells = stream.codec_context.name != "hevc"
    expected: list[tuple[int, bool]] = []
    errors = 0
    begun = False
    try:
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and not packet.is_discard:
                heappush(expected, (packet.pts, packet.is_keyframe))
            try:
                frames = packet.decode()
            except av.error.FFmpegError:  # mostly "invalid data", which one it is depends on the codec
                if packet.pts is None:
                    yield None, None
                else:
                    errors += 1
                continue
            for frame in frames:
                while frame.pts is not None and expected and expected[0][0] < frame.pts:
                    missing, is_key = heappop(expected)
                    if errors or (not tells and (begun or is_key)):
                        errors, begun = max(errors - 1, 0), True
                        yield missing, None
                if expected and expected[0][0] == frame.pts:
                    heappop(expected)
                begun = True
                yield frame.pts, None if frame.is_corrupt else frame
        while expected and (errors or not tells):
            errors = max(errors - 1, 0)
            yield heappop(expected)[0], None
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: cannot be read on: {error.strerror}") from error
