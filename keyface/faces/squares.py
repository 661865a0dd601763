"""Upright squares around faces: (left edge, top edge, side) in pixels, and crops of them.

Edges, not pixel centres: a whole image is (0, 0, W). Squares may reach over the border.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.faces.alignment import check_landmarks

EYES_APART = 0.31
EYES_DOWN = 0.40
MOUTH_DOWN = 0.71
"""Of the box's side. ArcFace's template has the face fill its 112 pixels; a detector's box with the margin of
FaceNet's training, 32 of 160 pixels, is wider by a quarter: an estimate, the boxes were not published."""

_MOST_SAMPLES = 4


def detector_squares(landmarks: Tensor) -> Tensor:
    """Return the squares (B, 3) that a face detector would give faces with landmarks (B, 5, 2)."""
    check_landmarks(landmarks)
    points = landmarks.float()
    eyes, mouth = points[:, :2].mean(dim=1), points[:, 3:].mean(dim=1)
    apart = (points[:, 1] - points[:, 0]).norm(dim=-1) / EYES_APART
    height = (mouth - eyes).norm(dim=-1) / (MOUTH_DOWN - EYES_DOWN)
    side = torch.maximum(apart, height)  # turned aside, eyes come closer; the face stays as high
    middle = (eyes + mouth) / 2
    down = (EYES_DOWN + MOUTH_DOWN) / 2
    return torch.stack([middle[:, 0] - side / 2, middle[:, 1] - down * side, side], dim=1)


def squares_around(corners: Tensor) -> Tensor:
    """Return the smallest squares (B, 3) around the middle of boxes (B, 4) that hold them."""
    sides = (corners[:, 2:] - corners[:, :2]).amax(dim=1, keepdim=True)
    middles = (corners[:, 2:] + corners[:, :2]) / 2
    return torch.cat([middles - sides / 2, sides], dim=1)


def crop_squares(images: Tensor, squares: Tensor, size: int) -> Tensor:
    """Cut squares out of images and resize them; black outside the image; differentiable in the images.

    Where a square is larger than the crop, each pixel averages as many samples as are needed, up to 4×4.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        squares: (B, 3).
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
