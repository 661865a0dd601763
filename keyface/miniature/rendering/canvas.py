"""Paint: layers of colour laid over each other, with the label map and the motion layers kept alongside."""

from __future__ import annotations

import torch
from torch import Tensor

from keyface.celeba import REGION_IDS

Colour = Tensor
"""(B, 3, 1, 1) or (B, 3, H, W), values in [0, 1]."""


def cover(distance: Tensor, softness: Tensor) -> Tensor:
    """Return 1 where the signed distance is below 0 and 0 outside, over a ramp as wide as `softness`."""
    return (0.5 - distance / softness).clamp(0.0, 1.0)


def ramp(value: Tensor, start: float | Tensor, end: float | Tensor) -> Tensor:
    """Compute the smoothstep: 0 at `start`, 1 at `end` (either may be the greater)."""
    t = ((value - start) / (end - start)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def blob(x: Tensor, y: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """Compute a Gaussian about the origin of (x, y), 1 in the middle."""
    p, q = x / width, y / height
    return torch.exp(-(p * p) - q * q)


def ellipse(x: Tensor, y: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """Compute the signed distance (to first order) to an ellipse about the origin of (x, y)."""
    p, q = x / width, y / height
    value = p * p + q * q
    gradient = (p / width) ** 2 + (q / height) ** 2
    return 0.5 * (value - 1.0) * torch.rsqrt(gradient + 1e-6)


def rgb(red: float, green: float, blue: float, like: Tensor) -> Colour:
    """Return a constant colour given in 0…255, (1, 3, 1, 1)."""
    return torch.tensor((red / 255, green / 255, blue / 255), device=like.device).view(1, 3, 1, 1)


class Canvas:
    """A picture being painted.

    `classes` and `layers` are (B, 1, H, W) uint8 maps, kept only when the truth is asked for; the layer
    says which motion a pixel follows.
    """

    def __init__(self, picture: Tensor, truth: bool) -> None:
        """Start from a ground (B, 3, H, W), of class 0 and layer 0."""
        self.picture = picture
        ground = torch.zeros_like(picture[:, :1], dtype=torch.uint8) if truth else None
        self.classes = ground
        self.layers = ground

    def paint(self, alpha: Tensor, colour: Colour, name: str | None = None, layer: int | None = None) -> None:
        """Lay a colour over the picture by `alpha` (B, 1, H, W), and name what it covers by half."""
        self.picture = torch.lerp(self.picture, colour, alpha)
        if self.classes is not None and name is not None:
            self.classes = torch.where(alpha > 0.5, REGION_IDS[name], self.classes)
        if self.layers is not None and layer is not None:
            self.layers = torch.where(alpha > 0.5, layer, self.layers)

    def name(self, alpha: Tensor, name: str, except_over: tuple[str, ...] = ()) -> None:
        """Name a region without painting it, but for what has one of the names `except_over`."""
        if self.classes is not None:
            there = alpha > 0.5
            for kept in except_over:
                there = there & (self.classes != REGION_IDS[kept])
            self.classes = torch.where(there, REGION_IDS[name], self.classes)

    def shade(self, amount: Tensor) -> None:
        """Multiply the picture, (B, 1, H, W) or (B, 3, H, W)."""
        self.picture = self.picture * amount

    def lay(self, other: Canvas, alpha: Tensor, layer: int) -> None:
        """Lay another canvas over this one, with its names."""
        self.picture = torch.lerp(self.picture, other.picture, alpha)
        if self.classes is not None and other.classes is not None:
            self.classes = torch.where(alpha > 0.5, other.classes, self.classes)
        if self.layers is not None:
            self.layers = torch.where(alpha > 0.5, layer, self.layers)
