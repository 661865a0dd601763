"""Dense landmarks of faces that lie in their crops as `keyface.faces.crops` places them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Landmarker = Callable[[Tensor], Tensor]
"""Gives points (n, m, 2), pixels with edges counted, of the face in each crop (n, 3, s, s) in [-1, 1]."""


def crop_landmarks(network: Callable[[Tensor], Tensor], size: int) -> Landmarker:
    """Return what looks at whole crops with a network that wants a size of its own.

    Args:
        network: Gives points (n, m, 2) in fractions of the side for crops (n, 3, size, size) in [-1, 1].
        size: Side in pixels.
    """

    @torch.no_grad()
    def look(crops: Tensor) -> Tensor:
        small = F.interpolate(
            crops.float(), (size, size), mode="bilinear", antialias=True, align_corners=False
        )
        return network(small) * crops.shape[-1]

    return look
