"""Attribute classifier: scores edits, and is never trained against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.miniature.networks.blocks import ConvNormAct


class _Stage(nn.Module):
    """Strided convolution, then a residual convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = ConvNormAct(inputs, outputs, 3, 2)
        self.body = ConvNormAct(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        out: Tensor = x + self.body(x)
        return out


class AttributeClassifier(nn.Module):
    """Multi-label classifier of CelebA attributes and the miniature's own labels.

    It learned on pictures of `input_size`; larger ones are shrunk to it.

    Args:
        labels: Names of the outputs, in order.
        width: Channels of the first stage.
    """

    input_size = 128

    def __init__(self, labels: Sequence[str], width: int = 24) -> None:
        super().__init__()
        self.labels = tuple(labels)
        sizes = [3, width, width * 2, width * 4, width * 6]
        stages = [_Stage(a, b) for a, b in pairwise(sizes)]
        self.body = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.1))
        self.head = nn.Linear(sizes[-1] * 16, len(labels))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, len(labels)) of images (B, 3, H, W) in [-1, 1]."""
        if images.shape[-1] > self.input_size:
            images = F.interpolate(images, (self.input_size, self.input_size), mode="area")
        out: Tensor = self.head(self.body(images))
        return out

    @torch.inference_mode()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Return for each label a boolean tensor (B,)."""
        present = self(images) > 0
        return {name: present[:, i] for i, name in enumerate(self.labels)}
