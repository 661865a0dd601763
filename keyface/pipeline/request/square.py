"""A fixed square of a video, given by the user in place of a face."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyface.pictures import largest_square

CENTRE = "centre"


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
    def parse(cls, text: str, height: int, width: int) -> Crop:
        """Read "x,y,size", or "centre" for the largest in the middle, and check that it lies inside a frame.

        Raises:
            ValueError: It does not, or the text is something else.
        """
        if text == CENTRE:
            return cls(*largest_square(0, 0, width, height))
        try:
            x, y, size = (int(part) for part in text.split(","))
        except ValueError:
            raise ValueError(
                f"--crop {text}: give three whole numbers, x,y,size in pixels, or {CENTRE}"
            ) from None
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

    def squares(self, frames: int) -> Tensor:
        """Return it as oriented squares (frames, 4): centre, side and roll of each frame."""
        half = self.size / 2
        return torch.tensor([[self.x + half, self.y + half, float(self.size), 0.0]]).repeat(frames, 1)
