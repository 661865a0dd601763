"""Layers as TensorFlow computes them, where torch's differ."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (122.782, 117.001, 104.298)
"""Mean colour, 0 to 255, that most of the networks subtract."""


def pad_same(data: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (B, C, H, W) as TensorFlow's "same" does: the odd pixel goes to the right and the bottom."""
    return F.pad(data, _pads(data, kernel, stride), value=value)


def _pads(data: Tensor, kernel: int, stride: int) -> list[int]:
    pads: list[int] = []
    for side in (data.shape[-1], data.shape[-2]):
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return pads


def conv_same(data: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int = 1) -> Tensor:
    """Convolve (B, C, H, W), padded as TensorFlow's "same" does; no copy where both sides get as much."""
    left, right, top, bottom = _pads(data, weight.shape[-1], stride)
    if (left, top) == (right, bottom):
        return F.conv2d(data, weight, bias, stride, (top, left), groups=groups)
    return F.conv2d(F.pad(data, (left, right, top, bottom)), weight, bias, stride, groups=groups)


def max_pool_same(data: Tensor, kernel: int, stride: int) -> Tensor:
    """Take the maximum over windows, padded as TensorFlow's "same" does."""
    return F.max_pool2d(pad_same(data, kernel, stride, value=-math.inf), kernel, stride)


def normalize(images: Tensor, mean: tuple[float, float, float] = MEAN) -> Tensor:
    """Subtract the mean colour from images (B, 3, H, W) in [-1, 1], taken as 0 to 255, and divide by 255."""
    offset = torch.tensor(mean, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return ((images + 1) * 127.5 - offset) / 255


class ConvSame(nn.Conv2d):
    """A convolution, padded as TensorFlow's "same" does."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride)

    def forward(self, data: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        return conv_same(data, self.weight, self.bias, self.stride[0])


class SeparableConv(nn.Module):
    """A 3×3 convolution of each channel by itself, then one of 1×1 over all."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(inside, inside, 3, stride, groups=inside, bias=False)
        self.pointwise = nn.Conv2d(inside, outside, 1)

    def forward(self, data: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        depthwise = conv_same(data, self.depthwise.weight, None, self.stride, self.depthwise.groups)
        result: Tensor = self.pointwise(depthwise)
        return result
