"""Dense landmarks of faces that lie in their crops as `keyface.faces.crops` places them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.faces.alignment import sane_landmarks
from keyface.faces.squares import crop_squares, detector_squares

Landmarker = Callable[[Tensor], Tensor]
"""Gives points (n, m, 2), pixels with edges counted, of the face in each crop (n, 3, s, s) in [-1, 1]."""


def crop_landmarks(
    network: Callable[[Tensor], Tensor], size: int, five: Callable[[Tensor], Tensor] | None = None
) -> Landmarker:
    """Return what looks at whole crops with a network that wants a size of its own.

    Args:
        network: Gives points (n, m, 2) in fractions of the side for crops (n, 3, size, size) in [-1, 1].
        size: Side in pixels.
        five: Takes five landmarks (n, 5, 2) out of the points, where the network was trained on a detector's
            squares: then it looks a second time, at the square that a detector would give the face.
    """

    @torch.no_grad()
    def look(crops: Tensor) -> Tensor:
        crops = crops.float()
        small = F.interpolate(crops, (size, size), mode="bilinear", antialias=True, align_corners=False)
        points = network(small) * crops.shape[-1]
        if five is None:
            return points
        landmarks = five(points)
        sane = sane_landmarks(landmarks)
        if sane.any():
            squares = detector_squares(landmarks[sane])
            closer = network(crop_squares(crops[sane], squares, size))
            points[sane] = squares[:, None, :2] + closer * squares[:, None, 2:]
        return points

    return look
