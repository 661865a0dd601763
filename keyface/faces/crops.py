"""Upright square crops, sampled without aliasing and with gradient."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_SAMPLES = 4


def crop_squares(images: Tensor, squares: Tensor, size: int) -> Tensor:
    """Cut squares out of images and resize them; black outside the image; differentiable in the images.

    Where a square is larger than the crop, each pixel averages as many samples as are needed, up to 4×4.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        squares: (B, 3) pixels: left edge, top edge and side; edges, so a whole image is (0, 0, W).
        size: Side of the crops, pixels.

    Returns:
        (B, 3, size, size) in [-1, 1].
    """
    height, width = images.shape[-2:]
    squares = squares.to(device=images.device, dtype=torch.float32)
    samples = min(max(math.ceil(float(squares[:, 2].max()) / size), 1), _MOST_SAMPLES)
    count = size * samples
    steps = (torch.arange(count, device=images.device, dtype=torch.float32) + 0.5) / count
    xs = (squares[:, :1] + steps * squares[:, 2:]) * (2 / width) - 1
    ys = (squares[:, 1:2] + steps * squares[:, 2:]) * (2 / height) - 1
    grid = torch.stack([xs[:, None, :].expand(-1, count, -1), ys[:, :, None].expand(-1, -1, count)], dim=-1)
    # The shift by 1 makes zero padding mean black.
    shifted = F.grid_sample(
        images.float() + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return F.avg_pool2d(shifted, samples) - 1
