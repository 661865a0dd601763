"""Finds the face in a frame, for recognizers that are given nothing but the frame."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.alignment import TEMPLATE, TEMPLATE_SIZE
from keyface.miniature.networks.blocks import ConvNormAct

_SIDE = 64
_SCALE = 0.65  # of the miniature's faces, crop side in frame sides
_CENTRE = (0.5, 0.62)


class FaceFinder(nn.Module):
    """Finds five landmarks as ArcFace's template moved, turned and scaled onto the face.

    What it finds is never degenerate: it predicts the similarity, not the points, and within bounds.
    An untrained one finds the face where the miniature's faces are on average.
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, 16, 32, 48, 64)
        self.body = nn.Sequential(*(ConvNormAct(a, b, stride=2, act=nn.ReLU) for a, b in pairwise(sizes)))
        self.head = nn.Linear(sizes[-1] * (_SIDE // 16) ** 2, 4)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return landmarks (B, 5, 2) in pixels (x, y) of square images (B, 3, S, S) in [-1, 1]."""
        side = images.shape[-1]
        small = F.interpolate(images, (_SIDE, _SIDE), mode="area") if side != _SIDE else images
        with torch.autocast(images.device.type, enabled=False):  # half a pixel is lost in bf16
            x, y, turn, size = self.head(self.body(small.float()).flatten(1)).tanh().unbind(1)
        template = torch.tensor(TEMPLATE, device=images.device) / TEMPLATE_SIZE
        points = template - template.mean(0)
        scale, angle = _SCALE * (0.5 * size).exp(), 0.8 * turn
        cosine, sine = (scale * angle.cos())[:, None], (scale * angle.sin())[:, None]
        turned = torch.stack(
            [
                cosine * points[:, 0] - sine * points[:, 1],
                sine * points[:, 0] + cosine * points[:, 1],
            ],
            dim=-1,
        )
        centre = torch.tensor(_CENTRE, device=images.device) + 0.4 * torch.stack([x, y], dim=1)
        return (turned + centre[:, None]) * side
