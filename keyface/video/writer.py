"""Writing video files: all or nothing, the source's time stamps, its audio, and what the video is."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from keyface.files import publish, temporary_beside
from keyface.pictures import to_uint8
from keyface.video.audio import audio_packets
from keyface.video.container import open_container
from keyface.video.reader import Timing, VideoReader

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
UNSPECIFIED_COLORSPACE = 2

# x264's macroblock tree reads beyond its rows: of 60 encodings of one clip of 208 pixels 21 differed. Without
# it a file is 6 to 12 % larger and always the same (128 to 336 pixels, 8 frames).
X264 = {"mbtree": "0"}


def require_container(path: Path, option: str | None = None) -> None:
    """Raise ValueError unless a file of this name can be written; the message begins with its option."""
    if path.suffix.lower() not in CONTAINERS:
        where = f"{option} {path}" if option else str(path)
        raise ValueError(f"{where}: write to one of {', '.join(CONTAINERS)}, not {path.suffix!r}")


class VideoWriter:
    """Encodes H.264 frame by frame; a context manager whose file appears only when all went well.

    Frames go to a temporary file beside the target, which is synced and renamed on success and removed on
    any error, so that the target is never partial and a previous one stays untouched until then.

    Args:
        path: The target: .mp4, .m4v, .mov or .mkv.
        like: A source whose time stamps, time base, colour matrix and audio are taken over.
        fps: Frames per second where there is no source.
        metadata: Container tags, for instance {"comment": "..."}.
        crf: x264's quality, 0 (lossless) to 51.

    Raises:
        ValueError: The suffix is unknown, or neither `like` nor `fps` is given.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        like: VideoReader | None = None,
        fps: Fraction | int | None = None,
        metadata: Mapping[str, str] | None = None,
        crf: int = 16,
    ) -> None:
        self.path = Path(path)
        require_container(self.path)
        if like is None and fps is None:
            raise ValueError(f"{self.path}: give a source to be like, or frames per second")
        self.like = like
        self.fps = like.fps if like is not None else Fraction(fps or 0)
        self.time_base = like.time_base if like is not None else 1 / self.fps
        self.metadata = dict(metadata or {})
        self.crf = crf
        self.frames = 0
        self._temporary = temporary_beside(self.path)
        self._container: OutputContainer | None = None
        self._audio: Iterator[tuple[Fraction, Packet[AudioStream]]] = iter(())
        self._source: InputContainer | None = None
        self._durations: dict[int, int] = {}

    def __enter__(self) -> Self:
        """Return the writer; the temporary file is made with the first frame."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish the file, or remove what was written when there was an error."""
        if kind is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def write(self, frames: Tensor) -> None:
        """Append frames.

        Args:
            frames: (n, 3, H, W) RGB, floats in [-1, 1] (clamped) or uint8.
        """
        if self._container is None:
            self._open(height=frames.shape[2], width=frames.shape[3])
        assert self._container is not None
        for image in to_uint8(frames).permute(0, 2, 3, 1).contiguous().numpy():
            timing = self._timing(self.frames)
            frame = VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=self._stream.pix_fmt, dst_colorspace=self._colorspace
            )
            frame.pts, frame.time_base = timing.pts, self.time_base
            self._durations[timing.pts] = timing.duration
            self._mux(self._stream.encode(frame))
            self._mux_audio(until=timing.pts * self.time_base)
            self.frames += 1

    def _timing(self, index: int) -> Timing:
        if self.like is None:
            return Timing(index, 1)
        if index >= len(self.like):
            raise ValueError(f"{self.path}: more frames written than {self.like.path} has ({len(self.like)})")
        return self.like.timings[index]

    def _open(self, height: int, width: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kind = CONTAINERS[self.path.suffix.lower()]
        muxing = {} if kind == "matroska" else {"movflags": "+faststart"}
        self._container = av.open(str(self._temporary), mode="w", format=kind, container_options=muxing)
        self._container.metadata.update(self.metadata)
        options = {"crf": str(self.crf), **X264}
        self._stream = self._container.add_stream("libx264", rate=self.fps, options=options)
        self._stream.width, self._stream.height = width, height
        # x264 halves the sides for 4:2:0 and refuses odd ones; 4:4:4 keeps any size as it is.
        self._stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        self._stream.codec_context.time_base = self.time_base
        self._stream.time_base = self.time_base
        self._colorspace: int | None = None
        if self.like is not None and self.like.colorspace != UNSPECIFIED_COLORSPACE:
            self._colorspace = self._stream.codec_context.colorspace = self.like.colorspace
        if self.like is not None and self.like.has_audio:
            self._source = open_container(self.like.path)
            self._audio = audio_packets(self._source, self._container)

    def _mux(self, packets: "Iterable[Packet[VideoStream]]") -> None:
        assert self._container is not None
        for packet in packets:
            # The encoder drops durations, without which the last frame would last no time.
            duration = self._durations.pop(packet.pts or 0, None)
            if duration is not None:
                packet.duration = duration
            self._container.mux(packet)

    def _mux_audio(self, until: Fraction | None) -> None:
        """Write the audio up to a time, so that the file stays interleaved; all of it when None."""
        assert self._container is not None
        for seconds, packet in self._audio:
            if until is not None and seconds > until:
                self._audio = chain([(seconds, packet)], self._audio)
                return
            self._container.mux(packet)

    def _finish(self) -> None:
        if self._container is None:
            raise ValueError(f"{self.path}: no frame was written")
        if self.like is not None and self.frames != len(self.like):
            raise ValueError(f"{self.path}: {self.frames} of {len(self.like)} frames were written")
        self._mux(self._stream.encode(None))
        shortened = self.like is not None and self.like.max_seconds is not None
        last = self._timing(self.frames - 1)
        self._mux_audio(until=(last.pts + last.duration) * self.time_base if shortened else None)
        self._close()
        publish(self._temporary, self.path)

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
        if self._source is not None:
            self._source.close()
            self._source = None

    def _discard(self) -> None:
        try:
            self._close()
        finally:
            self._temporary.unlink(missing_ok=True)


def write_clip(
    path: Path | str,
    frames: Tensor | Iterable[Tensor],
    fps: Fraction | int,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a clip at a constant rate.

    Args:
        path: The target: .mp4, .m4v, .mov or .mkv.
        frames: (T, 3, H, W) RGB floats in [-1, 1] or uint8, or an iterable of such chunks.
        fps: Frames per second.
        metadata: Container tags.
    """
    with VideoWriter(path, fps=fps, metadata=metadata) as writer:
        for chunk in [frames] if isinstance(frames, Tensor) else frames:
            writer.write(chunk)
