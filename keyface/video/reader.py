"""Video files as streams of frames: opened with care, checked whole, never held in memory whole."""

import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import islice, pairwise, repeat
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from keyface.pictures import from_uint8
from keyface.video.colour import SMOOTH, Appearance, to_rgb
from keyface.video.container import decode, open_container, video_stream
from keyface.video.decoding.completeness import check_complete
from keyface.video.decoding.fields import declared_fields, deinterlace
from keyface.video.decoding.losses import losses
from keyface.video.decoding.orientation import Orientation
from keyface.video.decoding.seeking import leads_before
from keyface.video.decoding.stamps import increasing

_WORTH_SEEKING = Fraction(3)
"""Seconds before which a start is decoded up to."""

CHUNK_BYTES = 96 * 2**20
"""Memory for frames that are worked on together, as floats: nine of 1280 by 720, one of 4K."""

LOOKS = 5
"""Frames of a clip that are looked at to describe it."""


class Timing(NamedTuple):
    """When a frame is shown, in units of the stream's time base."""

    pts: int
    duration: int


class VideoReader:
    """A video file's frames, upright and RGB; iterate `chunks` as often as needed.

    Opening decodes one frame; the first use of `len`, `timings`, `seconds` or `looks` decodes the file once
    more and keeps `looks` alone, because neither headers nor demuxers say reliably how many frames there are.

    Args:
        path: An mp4, mov, mkv, webm or avi file.
        on_corrupt: "error", or "hold" to show the last good frame in place of damaged ones.
        start: Read only the frames shown from this time on, in seconds after the first; they begin at 0.
        end: Read only the frames shown before this time; None reads all.

    Attributes:
        path: The file.
        height: Height in pixels of the upright frames.
        width: Width in pixels of the upright frames.
        orientation: How stored frames are turned and mirrored to be upright.
        fps: Average frames per second, exact.
        time_base: Seconds per unit of a time stamp, exact.
        appearance: What the file says of colours and the shape of pixels, for the upright frames.
        has_audio: Whether there is an audio stream.
        declared_frames: How many frames there are by the file's own word, which may be wrong; at least 1.
        held: Frames replaced so far by the last good one in the latest pass.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a video, or it is damaged.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        on_corrupt: Literal["error", "hold"] = "error",
        start: Fraction | float | None = None,
        end: Fraction | float | None = None,
    ) -> None:
        self.path = Path(path)
        self.on_corrupt = on_corrupt
        self.start = None if start is None else Fraction(str(start))
        self.end = None if end is None else Fraction(str(end))
        self.held = 0
        self._after: int | None = None
        self._kept: dict[int, np.ndarray] = {}
        self._said: set[str] = set()
        with open_container(self.path) as container:
            stream = video_stream(container, self.path)
            assert stream.time_base is not None
            self.time_base = stream.time_base
            self.fps = stream.average_rate or stream.guessed_rate or Fraction(25)
            self.codec = stream.codec_context.name
            self.has_audio = bool(container.streams.audio)
            self.declared_frames = self._declared_frames(container, stream)
            self._origin: int | None = None
            for stamp, first in decode(container, stream, self.path):
                self._origin = stamp if self._origin is None else self._origin
                if first is not None:
                    self._describe(stream, first)
                    return
        raise ValueError(f"{self.path}: no frame can be decoded; the file is empty or damaged")

    def _describe(self, stream: VideoStream, first: VideoFrame) -> None:
        """Take over what the file and its first frame say of the pictures, and say what will be lost."""
        said = []
        orientation = Orientation.of(first)
        if orientation is None:
            said.append("its display matrix is ignored, only quarter turns and mirroring are applied")
        self.orientation = orientation or Orientation()
        self._stored = first.height, first.width
        aspect = stream.sample_aspect_ratio or Fraction(1)
        self.height, self.width = self._stored
        if self.orientation.transposed:
            self.height, self.width, aspect = self.width, self.height, 1 / aspect
        interlaced = declared_fields(stream) is not None or first.interlaced_frame
        self.appearance = Appearance.of(first, aspect, interlaced)
        if interlaced:
            said.append("interlaced, so deinterlaced at the same frame rate")
        said = losses(stream, first, self.appearance) + said
        if said:
            self._say("losses", f"{', '.join(said)} ({first.format.name})", 4)

    def _say(self, what: str, text: str, level: int = 3) -> None:
        """Warn, once for each kind of thing: not on each pass, nor for each frame."""
        if what not in self._said:
            self._said.add(what)
            warnings.warn(f"{self.path}: {text}", stacklevel=level)

    def __len__(self) -> int:
        """Return the exact number of frames that `chunks` yields."""
        return len(self.timings)

    @property
    def pixel_aspect(self) -> Fraction:
        """Return the width of a stored pixel in its heights; squares on the screen are that much narrower."""
        return self.appearance.pixel_aspect

    @cached_property
    def timings(self) -> list[Timing]:
        """Time stamp and duration of every frame.

        Raises:
            ValueError: Frames are damaged, or missing at the end although the file declares them.
        """
        found: list[int] = []
        usual = max(round(1 / (self.fps * self.time_base)), 1)
        reformatter = VideoReformatter()
        with open_container(self.path) as container:
            stream = video_stream(container, self.path)
            wanted = _spread(self.declared_frames)
            last: VideoFrame | None = None
            for index, (pts, frame) in enumerate(self._stamped(container, stream)):
                found.append(pts)
                last = last if frame is None else frame
                if index in wanted and last is not None:
                    self._kept[index] = self._upright(last, reformatter)
        if not found:
            raise self._empty()
        stamps = increasing(found, usual)
        moved = sum(before != after for before, after in zip(found, stamps, strict=True))
        if moved:
            self._say("stamps", f"time stamps do not increase: {moved} of {len(found)} are spread anew")
        self._first = stamps[0]
        if self.end is None:
            doubt = check_complete(self.path, (stamps[-1] + usual) * self.time_base, self.fps)
            if doubt is not None:
                self._say("end", doubt)
        shift = 0 if self.start is None else stamps[0]
        gaps = [after - before for before, after in pairwise(stamps)]
        shown_last = self._lasts(stamps[-1], usual)
        return [Timing(pts - shift, gap) for pts, gap in zip(stamps, [*gaps, shown_last], strict=True)]

    def _lasts(self, stamp: int, usual: int) -> int:
        """Return how long the last frame is shown: to the end of the range, if none follows before."""
        if self.end is None or self._after is None:
            return usual
        end = (self._origin or 0) + math.floor(self.end / self.time_base)
        return max(min(self._after, end) - stamp, min(usual, self._after - stamp))

    @cached_property
    def span(self) -> tuple[Fraction | None, Fraction | None]:
        """Return start and end of what is read, in the file's own seconds; None where nothing is cut off."""
        if self.start is None and self.end is None:
            return None, None
        last = self.timings[-1]
        shift = Fraction(0) if self.start is None else self._first * self.time_base
        end = shift + (last.pts + last.duration) * self.time_base
        return (None if self.start is None else shift), (None if self.end is None else end)

    @cached_property
    def looks(self) -> Tensor:
        """Return up to five frames, spread evenly from the first to the last, (n, 3, H, W) in [-1, 1].

        They are kept while the time stamps are read, if the file declares its length truly; else they take
        another pass.
        """
        wanted = _spread(len(self))
        if not wanted <= self._kept.keys():
            self._kept = {index: image for index, image in enumerate(self._images()) if index in wanted}
        return _floats([self._kept[index] for index in sorted(wanted)])

    def frames(self, numbers: Sequence[int]) -> Tensor:
        """Return some frames by ascending numbers, (n, 3, H, W) in [-1, 1]; one pass up to the last."""
        return torch.stack([image for _, image in self.chosen(numbers)])

    def chosen(self, numbers: Collection[int]) -> Iterator[tuple[int, Tensor]]:
        """Yield some frames one by one: number and image (3, H, W) in [-1, 1]; one pass up to the last.

        Args:
            numbers: Of the frames, in any order; frames come in theirs.

        Raises:
            ValueError: There is no frame of such a number.
        """
        wanted, found = set(numbers), 0
        for index, image in enumerate(islice(self._images(), max(wanted) + 1)):
            if index in wanted:
                found += 1
                yield index, _floats([image])[0]
        if found < len(wanted):
            raise ValueError(f"{self.path}: frame {max(wanted)} is wanted, and there are {len(self)}")

    @property
    def seconds(self) -> float:
        """How long the frames last, from the first one's start to the last one's end."""
        last = self.timings[-1]
        return float((last.pts + last.duration - self.timings[0].pts) * self.time_base)

    def at_once(self, memory: int = CHUNK_BYTES, most: int = 16) -> int:
        """Return how many frames fit into so many bytes as floats, from 1 to `most`."""
        return min(max(memory // (self.height * self.width * 3 * 4), 1), most)

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield the frames in order as (n, 3, H, W) RGB floats in [-1, 1] with n ≤ size."""
        images = self._images()
        while batch := list(islice(images, size)):
            yield _floats(batch)

    def whole(self) -> Tensor:
        """Return all frames of a short clip, (T, 3, H, W) in [-1, 1]."""
        return torch.cat(list(self.chunks(self.at_once())))

    def _images(self) -> Iterator[np.ndarray]:
        """Yield upright (H, W, 3) uint8 images; damaged frames are replaced by the last good one."""
        self.held = 0
        last: np.ndarray | None = None
        reformatter = VideoReformatter()
        with open_container(self.path) as container:
            stream = video_stream(container, self.path)
            for _, frame in self._stamped(container, stream):
                if frame is None:
                    self.held += 1
                    if last is not None:
                        yield last
                    continue
                before, last = last, self._upright(frame, reformatter)
                # There is no good frame before the first: the next one is shown in the place of damaged ones.
                yield from repeat(last, 1 if before is not None else 1 + self.held)
        if last is None and self.held:
            raise ValueError(f"{self.path}: all frames are damaged, none can be held in their place")
        if last is None:
            raise self._empty()

    def _upright(self, frame: VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
        """Return a frame as (H, W, 3) uint8."""
        return np.ascontiguousarray(self.orientation.apply(to_rgb(frame, reformatter)))

    def _declared_frames(self, container: InputContainer, stream: VideoStream) -> int:
        """Return how many frames there are by the file's own word, which may be wrong; at least 1."""
        seconds = Fraction(container.duration or 0, av.time_base)
        if stream.duration:
            seconds = stream.duration * self.time_base
        declared = stream.frames or round(seconds * self.fps)
        start = self.start or Fraction(0)
        if self.end is not None:
            declared = min(declared, math.ceil(self.end * self.fps))
        return max(declared - math.ceil(start * self.fps), 1)

    def _stamped(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield the frames of the range with a time stamp each; None stands for a damaged frame."""
        step = max(round(1 / (self.fps * self.time_base)), 1)
        previous: int | None = None
        origin: int | None = None
        if self._seek_to is not None:
            container.seek(self._seek_to, stream=stream, backward=True)
            origin = self._origin
        resizer = VideoReformatter()
        for stamp, frame in deinterlace(
            decode(container, stream, self.path), declared_fields(stream), self._say_interlaced
        ):
            pts = stamp if stamp is not None else 0 if previous is None else previous + step
            origin = pts if origin is None else origin
            previous = pts
            shown = (pts - origin) * self.time_base
            if self.end is not None and shown >= self.end:
                self._after = pts
                return
            if self.start is not None and shown < self.start:
                continue
            if frame is None and self.on_corrupt == "error":
                raise ValueError(
                    f"{self.path}: damaged at {float(pts * self.time_base):.2f} s; "
                    "--on-corrupt hold repeats the last good frame there"
                )
            if frame is not None and (frame.height, frame.width) != self._stored:
                frame = self._resized(frame, pts, resizer)
            yield pts, frame

    @cached_property
    def _seek_to(self) -> int | None:
        """Return the time stamp to seek to; None: decode from the beginning."""
        if self.start is None or self.start < _WORTH_SEEKING or self._origin is None:
            return None
        target = self._origin + math.floor((self.start - 1) / self.time_base)
        return target if leads_before(self.path, target) else None

    def _say_interlaced(self, stamp: int | None) -> None:
        if not self.appearance.interlaced:
            since = "later" if stamp is None else f"from {float(stamp * self.time_base):.2f} s on"
            self._say("fields", f"interlaced {since}, so deinterlaced at the same frame rate", 4)

    def _resized(self, frame: VideoFrame, pts: int, resizer: VideoReformatter) -> VideoFrame:
        """Return a frame scaled to the size of the first."""
        height, width = self._stored
        self._say(
            "size",
            f"the size changes from {width}x{height} to {frame.width}x{frame.height} at "
            f"{float(pts * self.time_base):.2f} s; frames are scaled to the first one's",
            4,
        )
        return resizer.reformat(frame, width, height, interpolation=SMOOTH)

    def _empty(self) -> ValueError:
        start = f"from {float(self.start):g} s on" if self.start is not None else ""
        end = f"before {float(self.end):g} s" if self.end is not None else ""
        when = " ".join(filter(None, (start, end)))
        return ValueError(f"{self.path}: no frame is shown {when}; the video is shorter")


def _spread(frames: int) -> set[int]:
    """Return the numbers of up to `LOOKS` frames, spread evenly over so many."""
    return {round(index * (frames - 1) / (LOOKS - 1)) for index in range(LOOKS)}


def _floats(images: list[np.ndarray]) -> Tensor:
    """Return (H, W, 3) uint8 images as (n, 3, H, W) in [-1, 1]."""
    return from_uint8(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
