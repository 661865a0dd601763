"""Convolution blocks that several of the miniature's networks share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Pre-activation residual block of two 3×3 convolutions with group normalisation.

    Args:
        channels: Width of input and output.
        groups: Groups of the normalisation; must divide `channels`.
    """

    def __init__(self, channels: int, groups: int = 8) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        # The block starts as the identity, so a deep stack trains from the first step.
        nn.init.zeros_(self.conv2.weight)
        if self.conv2.bias is not None:
            nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        residual: Tensor = self.conv1(F.silu(self.norm1(x)))
        residual = self.conv2(F.silu(self.norm2(residual)))
        return x + residual


class ConvNormAct(nn.Sequential):
    """3×3 (or other) convolution, batch normalisation and an activation.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Side of the kernel; padding keeps the size at stride 1.
        stride: Stride.
        groups: Convolution groups (`inputs` gives a depthwise convolution).
        act: Activation, or None for a linear output.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = nn.SiLU,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if act is not None:
            layers.append(act())
        super().__init__(*layers)
