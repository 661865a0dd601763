"""A camera that moves before a picture: a clip whose motion is known exactly."""

import math
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

_VIEW = 0.9
"""Side of the view, as a part of the picture's."""

_ZOOM = 0.02
_SWAY = 0.06
"""How far the view's side and centre move, as parts of the picture's side; the view never leaves it."""


@dataclass(frozen=True)
class Camera:
    """Square views of a square picture.

    Attributes:
        sides: Of the views, as parts of the picture's side, (T,) in (0, 1].
        centres: Of the views, (T, 2) as (x, y), where the picture goes from -1 to 1.
        size: Rows and columns S of picture and views.
    """

    sides: Tensor
    centres: Tensor
    size: int

    @classmethod
    def round(cls, frames: int, size: int) -> Self:
        """Return a camera that goes once around the middle, and a little to and fro.

        Args:
            frames: T.
            size: S.
        """
        angles = torch.arange(frames) * (2 * math.pi / frames)
        sides = _VIEW + _ZOOM * torch.cos(angles)
        centres = _SWAY * torch.stack((torch.sin(angles), torch.sin(2 * angles) / 2), dim=-1)
        return cls(sides, centres, size)

    def film(self, picture: Tensor) -> Tensor:
        """Return the views (T, C, S, S), bilinear, of a picture (1, C, S, S)."""
        turned = torch.zeros(len(self.sides), 2, 3)
        turned[:, 0, 0] = turned[:, 1, 1] = self.sides
        turned[:, :, 2] = self.centres
        shape = [len(self.sides), picture.shape[1], self.size, self.size]
        grid = F.affine_grid(turned, shape, align_corners=False)
        return F.grid_sample(
            picture.expand(len(self.sides), -1, -1, -1), grid, padding_mode="border", align_corners=False
        )

    def flow(self) -> tuple[Tensor, Tensor]:
        """Return where each view's pixels are in the next one.

        Returns:
            (T - 1, 2, S, S), displacement (x, y) in pixels, and (T - 1, S, S) bool: those that it shows.
        """
        places = (torch.arange(self.size) * 2 + 1) / self.size - 1  # of the pixels' centres in a view
        at = torch.stack(torch.meshgrid(places, places, indexing="xy"))[None]
        before, after = (
            (self.sides[part, None, None, None], self.centres[part, :, None, None])
            for part in (slice(None, -1), slice(1, None))
        )
        then = (before[0] * at + before[1] - after[1]) / after[0]
        return (then - at) * (self.size / 2), (then.abs() <= 1).all(dim=1)
