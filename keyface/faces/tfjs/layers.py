"""Layers as TensorFlow computes them: how windows are padded, what is fused into a convolution.

Images stay (B, H, W, C) as TensorFlow has them. Seen with its sides exchanged such a tensor is one of torch's
channels-last images (B, C, H, W), which convolutions take as they are, so that nothing is copied.
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.tfjs.graph import Node

Operation = Callable[..., Tensor]
Constants = Mapping[str, Tensor]


def channels_first(data: Tensor) -> Tensor:
    """See (B, H, W, C) as (B, C, H, W)."""
    return data.permute(0, 3, 1, 2)


def channels_last(data: Tensor) -> Tensor:
    """See (B, C, H, W) as (B, H, W, C)."""
    return data.permute(0, 2, 3, 1)


def prelu(data: Tensor, slopes: Tensor) -> Tensor:
    """Multiply what is negative of (B, H, W, C) by a slope for each channel."""
    return channels_last(F.prelu(channels_first(data), slopes.flatten()))


def identity(data: Tensor) -> Tensor:
    """Return what is given."""
    return data


def relu(data: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Replace what is negative by 0."""
    return torch.clamp_min(data, 0, out=out)


def relu6(data: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Clamp to [0, 6]."""
    return torch.clamp(data, 0, 6, out=out)


class Windows:
    """How windows move over an image.

    Args:
        kernel: Height and width of a window.
        stride: Steps down and to the right.
        dilation: Distance of neighbours in a window.
        same: Pad so that only the stride makes the output smaller, as TensorFlow's "same" does: the odd pixel
            goes to the right and the bottom. Else windows lie inside.
    """

    def __init__(
        self, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], same: bool
    ) -> None:
        self.stride, self.dilation, self.same = stride, dilation, same
        self.kernel = kernel
        self.reach = tuple((side - 1) * step + 1 for side, step in zip(kernel, dilation, strict=True))

    def margins(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return what must be added on the left, right, top and bottom."""
        if not self.same:
            return 0, 0, 0, 0
        down, across = (
            max((math.ceil(side / step) - 1) * step + reach - side, 0)
            for side, step, reach in zip((height, width), self.stride, self.reach, strict=True)
        )
        return across // 2, across - across // 2, down // 2, down - down // 2

    def pad(self, data: Tensor, value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
        """Pad (B, C, H, W) where that is uneven; return it, and how much an operation must pad by itself."""
        left, right, top, bottom = self.margins(*data.shape[-2:])
        if (left, top) == (right, bottom) and value == 0.0:
            return data, (top, left)
        return F.pad(data, (left, right, top, bottom), value=value), (0, 0)


def windows_of(node: Node, kernel: tuple[int, int]) -> Windows:
    """Read from a node how its windows of a height and width move.

    Raises:
        ValueError: In a way that is not supported.
    """
    padding = node.text("padding")
    if padding not in ("SAME", "VALID") or node.text("data_format") not in ("", "NHWC"):
        raise ValueError(f"padding {padding} or layout {node.text('data_format')} is not supported")
    return Windows(kernel, node.sides("strides"), node.sides("dilations"), padding == "SAME")


_ACTIVATIONS: dict[str, Operation] = {
    "Identity": identity,
    "Relu": relu,
    "Relu6": relu6,
    "Sigmoid": torch.sigmoid,
}


class Fused(nn.Module):
    """What TensorFlow fused into a convolution or a product: a bias and an activation.

    Args:
        node: The node.
        constants: The graph's.
    """

    bias: Tensor | None
    slopes: Tensor | None

    def __init__(self, node: Node, constants: Constants) -> None:
        super().__init__()
        words = node.words("fused_ops")
        if words[:1] not in ([], ["BiasAdd"]) or len(words) > 2:
            raise ValueError(f"fused {words} is not supported")
        self.kind = words[1] if len(words) > 1 else "Identity"
        if self.kind not in (*_ACTIVATIONS, "Prelu"):
            raise ValueError(f"fused {words} is not supported")
        self.register_buffer("bias", constants[node.inputs[2]] if words else None, persistent=False)
        slopes = constants[node.inputs[3]] if self.kind == "Prelu" else None
        self.register_buffer("slopes", slopes, persistent=False)

    def activate(self, data: Tensor) -> Tensor:
        """Apply the activation to (B, H, W, C) or (B, C)."""
        return _ACTIVATIONS[self.kind](data) if self.slopes is None else prelu(data, self.slopes)


class Convolution(nn.Module):
    """A convolution, all its channels together or each by itself, with what is fused into it."""

    weight: Tensor

    def __init__(self, node: Node, weight: Tensor, fused: Fused) -> None:
        super().__init__()
        height, width, inside, outside = weight.shape
        self.windows = windows_of(node, (height, width))
        if "Depthwise" in node.op:
            self.groups = inside
            weight = weight.permute(2, 3, 0, 1).reshape(inside * outside, 1, height, width)
        else:
            self.groups = 1
            weight = weight.permute(3, 2, 0, 1)
        # Of single pixels a convolution is a product with a matrix, which is faster done as one.
        single = (height, width) == (1, 1) == self.windows.stride
        self.is_product = single and self.groups == 1
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last), persistent=False)
        self.fused = fused

    def forward(self, data: Tensor) -> Tensor:
        """Convolve (B, H, W, C)."""
        if self.is_product:
            product = F.linear(data, self.weight.flatten(1))
            # Added afterwards, in place, a bias costs less than as part of the product.
            return self.fused.activate(product if self.fused.bias is None else product.add_(self.fused.bias))
        image, padding = self.windows.pad(channels_first(data))
        out = F.conv2d(
            image,
            self.weight,
            self.fused.bias,
            self.windows.stride,
            padding,
            self.windows.dilation,
            self.groups,
        )
        return self.fused.activate(channels_last(out))


class TransposedConvolution(nn.Module):
    """The gradient of a convolution, which enlarges."""

    weight: Tensor

    def __init__(self, node: Node, weight: Tensor) -> None:
        super().__init__()
        self.stride = node.sides("strides")
        if node.text("padding") != "SAME" or tuple(weight.shape[:2]) != self.stride:
            raise ValueError("only transposed convolutions whose windows do not overlap are supported")
        self.register_buffer("weight", weight.permute(3, 2, 0, 1).contiguous(), persistent=False)

    def forward(self, data: Tensor) -> Tensor:
        """Enlarge (B, H, W, C)."""
        return channels_last(F.conv_transpose2d(channels_first(data), self.weight, stride=self.stride))


class Dense(nn.Module):
    """A product with a matrix of weights, with what is fused into it."""

    weight: Tensor

    def __init__(self, node: Node, weight: Tensor, fused: Fused) -> None:
        super().__init__()
        if node.flag("transpose_a"):
            raise ValueError("a transposed input is not supported")
        weight = weight if node.flag("transpose_b") else weight.T
        self.register_buffer("weight", weight.contiguous(), persistent=False)
        self.fused = fused

    def forward(self, data: Tensor) -> Tensor:
        """Multiply (B, C)."""
        return self.fused.activate(F.linear(data, self.weight, self.fused.bias))
