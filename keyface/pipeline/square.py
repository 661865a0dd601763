"""The square of a video that is edited: cut out of every frame at the model's size, and pasted back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor

from keyface.pictures import largest_square, resize_square
from keyface.video import VideoReader


@dataclass(frozen=True)
class Crop:
    """A square part of a frame, in pixels.

    Attributes:
        x: Left edge.
        y: Upper edge.
        size: Width and height.
    """

    x: int
    y: int
    size: int

    @classmethod
    def centre(cls, height: int, width: int) -> Crop:
        """Return the largest square in the middle of a frame."""
        return cls(*largest_square(0, 0, width, height))

    @classmethod
    def parse(cls, text: str, height: int, width: int) -> Crop:
        """Read "x,y,size" and check that the square lies inside a frame.

        Raises:
            ValueError: It does not, or the text is something else.
        """
        try:
            x, y, size = (int(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"--crop {text}: give three whole numbers, x,y,size in pixels") from None
        crop = cls(x, y, size)
        crop.require_inside(height, width)
        return crop

    def require_inside(self, height: int, width: int) -> None:
        """Raise ValueError unless the square has at least 16 pixels and lies inside a frame."""
        if (
            min(self.x, self.y) < 0
            or self.size < 16
            or self.x + self.size > width
            or self.y + self.size > height
        ):
            raise ValueError(
                f"--crop {self.x},{self.y},{self.size}: give a square of at least 16 pixels inside the "
                f"{width}x{height} frame"
            )

    def cut(self, frames: Tensor) -> Tensor:
        """Return the square of frames (n, 3, H, W) as (n, 3, size, size)."""
        return frames[:, :, self.y : self.y + self.size, self.x : self.x + self.size]

    def feather(self, height: int, width: int, fraction: float = 0.06) -> Tensor:
        """Return how much of the edited square shows, (size, size) in [0, 1].

        It rises from the square's edges inwards over a fraction of its size, but for edges that are the
        frame's own, where there is nothing to blend with.
        """
        ramp = max(round(fraction * self.size), 1)
        inside = torch.arange(self.size, dtype=torch.float32).add(1).div(ramp + 1).clamp(max=1)
        never = torch.ones_like(inside)
        left = never if self.x == 0 else inside
        right = never if self.x + self.size == width else inside.flip(0)
        top = never if self.y == 0 else inside
        bottom = never if self.y + self.size == height else inside.flip(0)
        return (top * bottom)[:, None] * (left * right)[None, :]


class SquareFrames:
    """Read the square of every frame of a video, at the model's size: what the editor takes.

    Args:
        reader: The video.
        crop: Which square.
        image_size: Height and width that the model works at.
    """

    def __init__(self, reader: VideoReader, crop: Crop, image_size: int) -> None:
        self.reader = reader
        self.crop = crop
        self.height = self.width = image_size

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.reader)

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield (n, 3, image_size, image_size) in [-1, 1], n ≤ size."""
        for frames in self.reader.chunks(size):
            yield resize_square(self.crop.cut(frames), self.height)

    def looks(self) -> Tensor:
        """Return a few frames that are spread evenly over the video, (n, 3, image_size, image_size)."""
        return resize_square(self.crop.cut(self.reader.looks), self.height)


class Paster:
    """Put edited squares back into the frames that they were cut from, in the order of the video.

    Args:
        reader: The video.
        crop: Which square.
    """

    def __init__(self, reader: VideoReader, crop: Crop) -> None:
        self.crop = crop
        self._mask = crop.feather(reader.height, reader.width)
        self._originals = chain.from_iterable(reader.chunks(16))

    def paste(self, edited: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next frames of the video, as they were and with their squares replaced.

        Args:
            edited: The next squares (n, 3, h, w) in [-1, 1].
        """
        originals = torch.stack(list(islice(self._originals, len(edited))))
        squares = resize_square(edited.detach().float().cpu(), self.crop.size).clamp(-1, 1)
        pasted = originals.clone()
        before = self.crop.cut(originals)
        self.crop.cut(pasted).copy_(torch.lerp(before, squares, self._mask.expand_as(before)))
        return originals, pasted
