"""Pictures as clips of one frame, so that whatever edits videos edits them, too."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from keyface.pictures import from_uint8
from keyface.video.colour import Appearance
from keyface.video.decoding.orientation import Orientation
from keyface.video.formats import STILL_SUFFIXES, is_still
from keyface.video.reader import Timing, VideoReader

_MOST_PIXELS = 100_000_000
_FORMATS = ("PNG", "JPEG", "WEBP")
_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged or no pictures."""


class StillReader(VideoReader):
    """A picture file as a clip of one frame, upright and RGB.

    Args:
        path: A png, jpg or webp file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture that can be read, or too large a one.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.on_corrupt, self.start, self.end, self.held = "error", None, None, 0
        self.image = read_still(self.path)
        self.height, self.width = self.image.shape[-2:]
        self.orientation, self.appearance = Orientation(), Appearance()
        self.fps, self.time_base = Fraction(1), Fraction(1)
        self.codec, self.has_audio, self.declared_frames = "", False, 1

    @property
    def timings(self) -> list[Timing]:
        """Return the time stamp of the only frame."""
        return [Timing(0, 1)]

    @property
    def looks(self) -> Tensor:
        """Return the frame, (1, 3, H, W) in [-1, 1]."""
        return self.image[None]

    def chosen(self, numbers: Collection[int]) -> Iterator[tuple[int, Tensor]]:
        """Yield the frame, whose number is 0: number and image (3, H, W) in [-1, 1]."""
        if set(numbers) != {0}:
            raise ValueError(f"{self.path}: is a picture; its only frame is 0")
        yield 0, self.image

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield the frame, (1, 3, H, W) in [-1, 1]."""
        yield self.image[None]


def open_video(
    path: Path | str,
    *,
    on_corrupt: str = "error",
    start: Fraction | float | None = None,
    end: Fraction | float | None = None,
) -> VideoReader:
    """Open a video, or a picture as a clip of one frame.

    Args:
        path: The file; its suffix tells a picture.
        on_corrupt: As of `VideoReader`.
        start: As of `VideoReader`.
        end: As of `VideoReader`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or a part of a picture is asked for.
    """
    if not is_still(Path(path)):
        return VideoReader(path, on_corrupt="hold" if on_corrupt == "hold" else "error", start=start, end=end)
    if start is not None or end is not None:
        raise ValueError(f"{path}: is a picture, so no start or end can be given")
    return StillReader(path)


def read_still(path: Path) -> Tensor:
    """Return a picture file, turned upright, as (3, H, W) in [-1, 1].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture that can be read, or too large a one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such picture")
    unreadable = f"{path}: not a picture that can be read ({', '.join(STILL_SUFFIXES)})"
    try:
        picture = Image.open(path, formats=_FORMATS)
    except _DAMAGE as error:
        raise ValueError(unreadable) from error
    with picture:
        if picture.width * picture.height > _MOST_PIXELS:
            raise ValueError(
                f"{path}: {picture.width} x {picture.height} pixels; at most {_MOST_PIXELS:,} are taken"
            )
        try:
            upright = ImageOps.exif_transpose(picture)
            pixels = np.array(_eight_bits(upright).convert("RGB"))
        except _DAMAGE as error:
            raise ValueError(unreadable) from error
        lost = []
        if upright.has_transparency_data:
            lost.append("transparency dropped")
        if upright.mode.startswith("I"):
            lost.append("16-bit grayscale reduced to 8 bits")
        if getattr(picture, "n_frames", 1) > 1:
            lost.append("only the first of its pictures is read")
    if lost:
        warnings.warn(f"{path}: {', '.join(lost)}", stacklevel=3)
    return from_uint8(torch.from_numpy(pixels).permute(2, 0, 1))


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Return a picture with 8 bits a sample; Pillow clips grayscale of 16 bits, all but black to white."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).astype(np.uint32) / 257).round().astype(np.uint8))
