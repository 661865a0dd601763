"""Writing video files: all or nothing, the source's time stamps, what else it holds, what the video is."""

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container import OutputContainer
from torch import Tensor

from keyface.files import Publish, no_room, publish, temporary_beside
from keyface.video.carrying.carried import Carried
from keyface.video.carrying.tracks import AnyPacket, Span
from keyface.video.colour import Appearance
from keyface.video.encoding import Encoding, choose
from keyface.video.formats import format_of, is_still, require_container
from keyface.video.picture_track import PictureTrack, warn_of_changes
from keyface.video.reader import Timing, VideoReader
from keyface.video.still_writer import StillWriter

__all__ = ["VideoWriter", "open_writer", "require_container", "write_clip"]


class VideoWriter:
    """Encodes a video frame by frame; a context manager whose file appears only when all went well.

    Frames go to a temporary file beside the target, which is synced and renamed on success and removed on
    any error, so that the target is never partial and a previous one stays untouched until then. Making a
    writer tries the file's header with all that it will hold, so that what it does not take is known before
    the first frame.

    Args:
        path: The target: .mp4, .m4v, .mov, .mkv or .webm.
        like: A source whose time stamps, time base, colours, sound, subtitles, chapters and tags are taken
            over.
        fps: Frames per second where there is no source.
        metadata: What the video is, for instance {"comment": "..."}; the source's tags are kept beside it,
            and so is its title.
        encoding: Codec, quality, speed and bits.
        finish: What gives the finished file its name, such as what signs it first; None is `publish`.

    Raises:
        ValueError: The suffix is unknown, neither `like` nor `fps` is given, or the kind of file does not
            take the codec or what comes from the source.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        like: VideoReader | None = None,
        fps: Fraction | int | None = None,
        metadata: Mapping[str, str] | None = None,
        encoding: Encoding | None = None,
        finish: Publish | None = None,
    ) -> None:
        self.path = Path(path)
        require_container(self.path)
        if like is None and fps is None:
            raise ValueError(f"{self.path}: give a source to be like, or frames per second")
        self.like = like
        self.fps = like.fps if like is not None else Fraction(fps or 0)
        self.time_base = like.time_base if like is not None else 1 / self.fps
        self.metadata = dict(metadata or {})
        self.frames = 0
        self._publish = finish or publish
        self._span = Span() if like is None else _span(like)
        self._choice = choose(encoding or Encoding(), self.path, like)
        self._temporary = temporary_beside(self.path)
        self._files = ExitStack()
        self._lost: list[str] = []
        self._container: OutputContainer | None = None
        self._companions: Iterator[tuple[Fraction, AnyPacket]] = iter(())
        if like is not None:
            self._try_header(like)

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
            height, width = frames.shape[2:]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.like is None:
                warn_of_changes(self._choice, self.path, height, width, Appearance())
            with _told(self.path):
                # Absolute: FFmpeg takes what stands before a colon for a protocol.
                self._container = self._open(str(self._temporary.absolute()), height, width)
        with _told(self.path):
            for image in frames:
                timing = self._timing(self.frames)
                self._mux(self._pictures.encode(image, timing))
                self._mux_companions(until=timing.pts * self.time_base)
                self.frames += 1

    def _timing(self, index: int) -> Timing:
        if self.like is None:
            return Timing(index, 1)
        if index >= len(self.like):
            raise ValueError(f"{self.path}: more frames written than {self.like.path} has ({len(self.like)})")
        return self.like.timings[index]

    def _open(self, file: str | io.BytesIO, height: int, width: int) -> OutputContainer:
        """Return a new file with all its streams, before its header is written."""
        takes = format_of(self.path)
        # Moving the index to the front opens the file once more by its name, which one in memory lacks.
        options = dict(takes.options) if isinstance(file, str) else {}
        target = self._files.enter_context(
            av.open(file, mode="w", format=takes.muxer, container_options=options)
        )
        self._pictures = PictureTrack(
            target,
            self._choice,
            takes,
            height=height,
            width=width,
            fps=self.fps,
            time_base=self.time_base,
            appearance=Appearance() if self.like is None else self.like.appearance,
        )
        if self.like is None or is_still(self.like.path):
            target.metadata.update(self.metadata)
            return target
        carried = self._files.enter_context(Carried(self.like.path, self.path, self._span))
        self._lost = carried.add_to(target, self._pictures.stream, self.metadata)
        self._companions = carried.packets()
        return target

    def _try_header(self, like: VideoReader) -> None:
        """Write the header of a file in memory; what the kind of file does not take shows there."""
        warn_of_changes(self._choice, self.path, like.height, like.width, like.appearance)
        try:
            with self._files:
                self._open(io.BytesIO(), like.height, like.width).start_encoding()
        except av.error.FFmpegError as error:
            raise ValueError(
                f"{self.path}: cannot be written with {self._choice.encoder.name} and what {like.path.name} "
                f"holds: {error.strerror}"
            ) from error
        if self._lost:
            warnings.warn(f"{self.path}: left out: {', '.join(self._lost)}", stacklevel=3)

    def _mux(self, packets: Iterable[AnyPacket]) -> None:
        assert self._container is not None
        for packet in packets:
            self._container.mux(packet)

    def _mux_companions(self, until: Fraction | None) -> None:
        """Write what comes with the pictures up to a time, so that the file stays interleaved; None: all."""
        assert self._container is not None
        for seconds, packet in self._companions:
            if until is not None and seconds > until:
                self._companions = chain([(seconds, packet)], self._companions)
                return
            self._container.mux(packet)

    def _finish(self) -> None:
        if self._container is None:
            raise ValueError(f"{self.path}: no frame was written")
        if self.like is not None and self.frames != len(self.like):
            raise ValueError(f"{self.path}: {self.frames} of {len(self.like)} frames were written")
        with _told(self.path):
            self._mux(self._pictures.finish())
            self._mux_companions(until=None)
            self._files.close()
        self._publish(self._temporary, self.path)

    def _discard(self) -> None:
        try:
            self._files.close()
        finally:
            self._temporary.unlink(missing_ok=True)


def open_writer(
    path: Path | str,
    *,
    like: VideoReader | None = None,
    fps: Fraction | int | None = None,
    metadata: Mapping[str, str] | None = None,
    encoding: Encoding | None = None,
    finish: Publish | None = None,
) -> VideoWriter | StillWriter:
    """Return the writer for a file's name: of a video, or of a picture where the source has one frame.

    Args:
        path: The target, see `VideoWriter` and `StillWriter`.
        like: A source to be like.
        fps: Frames per second where there is no source.
        metadata: What the file is.
        encoding: How a video is encoded; pictures take none.
        finish: What gives the finished file its name; None is `keyface.files.publish`.

    Raises:
        ValueError: The file cannot be written so.
    """
    if not is_still(Path(path)):
        return VideoWriter(path, like=like, fps=fps, metadata=metadata, encoding=encoding, finish=finish)
    if encoding is not None and encoding != Encoding():
        raise ValueError(f"{path}: is a picture, and encoding is for videos; leave it out")
    return StillWriter(path, like=like, metadata=metadata, finish=finish)


def write_clip(
    path: Path | str,
    frames: Tensor | Iterable[Tensor],
    fps: Fraction | int,
    metadata: Mapping[str, str] | None = None,
    encoding: Encoding | None = None,
) -> None:
    """Write a clip at a constant rate.

    Args:
        path: The target: .mp4, .m4v, .mov, .mkv or .webm.
        frames: (T, 3, H, W) RGB floats in [-1, 1] or uint8, or an iterable of such chunks.
        fps: Frames per second.
        metadata: Container tags.
        encoding: Codec, quality, speed and bits.
    """
    with VideoWriter(path, fps=fps, metadata=metadata, encoding=encoding) as writer:
        for chunk in [frames] if isinstance(frames, Tensor) else frames:
            writer.write(chunk)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file, and not its temporary one, in errors of writing it."""
    try:
        yield
    except av.error.FFmpegError as error:
        reason = no_room(error.errno, path.parent) or error.strerror
        raise OSError(f"{path}: cannot be written to its end: {reason}") from error


def _span(like: VideoReader) -> Span:
    """Return which part of its file a reader takes, in the file's seconds."""
    return Span(*like.span)
