"""Oriented squares, (centre x, centre y, side, roll), and crops of them out of images.

Pixels are counted from edges: a whole image is x 0…W. Roll is in radians, clockwise as seen. Squares may
reach over the border.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class Pyramid:
    """An image and its halvings, made when they are needed: large squares are cut out of small images.

    Args:
        image: (3, H, W) in [-1, 1].
    """

    def __init__(self, image: Tensor) -> None:
        self.levels = [image[None]]

    def level(self, scale: float) -> tuple[int, Tensor]:
        """Return the smallest image (1, 3, h, w) in which a step of `scale` pixels is a pixel or more.

        Args:
            scale: Pixels of the original that become one.

        Returns:
            How often the image was halved, and the image.
        """
        halvings = 0
        while scale >= 2 ** (halvings + 1) and min(self.levels[halvings].shape[-2:]) > 2:
            halvings += 1
            if halvings == len(self.levels):
                image = self.levels[-1]
                # An odd row or column at the end would shift the picture: it is doubled.
                odd = (0, image.shape[-1] % 2, 0, image.shape[-2] % 2)
                self.levels.append(
                    F.avg_pool2d(F.pad(image, odd, mode="replicate") if any(odd) else image, 2)
                )
        return halvings, self.levels[halvings]

    def cut(self, squares: Tensor, size: int) -> Tensor:
        """Cut squares (n, 4) out and resize them, (n, 3, size, size) in [-1, 1]; black outside the image."""
        return torch.stack([self._cut(square, size) for square in squares])

    def _cut(self, square: Tensor, size: int) -> Tensor:
        halvings, image = self.level(float(square[2]) / size)
        height, width = image.shape[-2:]
        steps = (torch.arange(size, device=image.device, dtype=torch.float32) + 0.5) / size
        ys, xs = torch.meshgrid(steps, steps, indexing="ij")
        points = from_squares(torch.stack([xs, ys], dim=-1).view(1, -1, 2), square[None])[0] / 2**halvings
        # Only what the square touches is looked at, with a pixel around it.
        low = (points.amin(dim=0).floor() - 1).clamp(min=0).tolist()
        high = (points.amax(dim=0).ceil() + 1).tolist()
        left, top = (min(int(value), side - 1) for value, side in zip(low, (width, height), strict=True))
        right, bottom = max(min(int(high[0]), width), left + 1), max(min(int(high[1]), height), top + 1)
        part = image[..., top:bottom, left:right]
        extent = points.new_tensor([right - left, bottom - top])
        grid = ((points - points.new_tensor([left, top])) * 2 / extent - 1).view(1, size, size, 2)
        # The shift by 1 makes zero padding mean black.
        cut = F.grid_sample(part + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1
        return cut[0]


def cut_each(images: Tensor, squares: Tensor, size: int) -> Tensor:
    """Cut one square (B, 4) out of each image (B, 3, H, W) in [-1, 1]; differentiable in the images."""
    pairs = zip(images.float(), squares, strict=True)
    return torch.cat([Pyramid(image).cut(square[None], size) for image, square in pairs])


def from_squares(points: Tensor, squares: Tensor) -> Tensor:
    """Turn fractions (n, m, 2) of the sides of squares (n, 4) into pixels of the image."""
    offsets = (points - 0.5) * squares[:, None, 2:3]
    cosine, sine = squares[:, 3:].cos(), squares[:, 3:].sin()
    xs = cosine * offsets[..., 0] - sine * offsets[..., 1]
    ys = sine * offsets[..., 0] + cosine * offsets[..., 1]
    return torch.stack([xs, ys], dim=-1) + squares[:, None, :2]


def around(points: Tensor, left: Tensor, right: Tensor, margin: float) -> Tensor:
    """Return the upright squares around points, as a line through the face has it.

    Args:
        points: (n, m, 2) pixels.
        left: (n, 2) pixels, left end of a line that is level in an upright face.
        right: Its right end.
        margin: Side of the squares, of the longer side of what the points fill.

    Returns:
        (n, 4).
    """
    across, down = (right - left).unbind(dim=-1)
    roll = torch.atan2(down, across)
    cosine, sine = roll.cos()[:, None], roll.sin()[:, None]
    xs = cosine * points[..., 0] + sine * points[..., 1]
    ys = cosine * points[..., 1] - sine * points[..., 0]
    lows = torch.stack([xs.amin(dim=1), ys.amin(dim=1)], dim=1)
    highs = torch.stack([xs.amax(dim=1), ys.amax(dim=1)], dim=1)
    middles = (lows + highs) / 2
    centres = torch.stack(
        [
            cosine[:, 0] * middles[:, 0] - sine[:, 0] * middles[:, 1],
            sine[:, 0] * middles[:, 0] + cosine[:, 0] * middles[:, 1],
        ],
        dim=1,
    )
    sides = margin * (highs - lows).amax(dim=1, keepdim=True)
    return torch.cat([centres, sides, roll[:, None]], dim=1)
