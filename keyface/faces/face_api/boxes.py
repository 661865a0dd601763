"""What face-api's detectors share: pictures scaled to their input, and the boxes that are kept."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

STEP = 32
"""Sides of an input are multiples of this, pixels."""

_IOU = 0.4


class Boxes(NamedTuple):
    """What was found in one image, the surest first.

    Attributes:
        corners: (n, 4) pixels: left, top, right, bottom; may reach over the border.
        scores: (n,) in (0, 1).
    """

    corners: Tensor
    scores: Tensor


def scaled(images: Tensor, side: int) -> tuple[Tensor, float]:
    """Resize images so that the longer side has a length, and pad them with black to multiples of `STEP`.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        side: The length, pixels; ÷ `STEP`.

    Returns:
        (B, 3, h, w), and how many pixels of the images one of these is.
    """
    height, width = images.shape[-2:]
    factor = max(height, width) / side
    size = [max(round(each / factor), 1) for each in (height, width)]
    small = F.interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)
    return F.pad(small, (0, -size[1] % STEP, 0, -size[0] % STEP), value=-1.0), factor


def keep_best(corners: Tensor, scores: Tensor, threshold: float) -> Boxes:
    """Drop boxes (n, 4) of low scores (n,), and of boxes that overlap all but the surest."""
    sure = scores > threshold
    kept = nms(corners[sure], scores[sure], _IOU)
    return Boxes(corners[sure][kept], scores[sure][kept])


def joined(levels: list[list[Boxes]]) -> list[Boxes]:
    """Join what was found in each image at several scales: of boxes that overlap the surest is kept."""
    return [
        keep_best(
            torch.cat([each.corners for each in found]), torch.cat([each.scores for each in found]), 0.0
        )
        for found in zip(*levels, strict=True)
    ]
