"""What the nodes of a TensorFlow graph compute, on torch.

Images stay (B, H, W, C) as TensorFlow has them. Seen with its sides exchanged such a tensor is one of torch's
channels-last images (B, C, H, W), which convolutions take as they are, so that nothing is copied.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.tfjs.graph import Node

Operation = Callable[..., Tensor]
Constants = Mapping[str, Tensor]


class Step(NamedTuple):
    """One node, ready to be computed.

    Attributes:
        node: For messages.
        operation: Computes its output.
        inputs: Names of the tensors that the operation takes.
    """

    node: Node
    operation: Operation
    inputs: tuple[str, ...]


def channels_first(data: Tensor) -> Tensor:
    """See (B, H, W, C) as (B, C, H, W)."""
    return data.permute(0, 3, 1, 2)


def channels_last(data: Tensor) -> Tensor:
    """See (B, C, H, W) as (B, H, W, C)."""
    return data.permute(0, 2, 3, 1)


def prelu(data: Tensor, slopes: Tensor) -> Tensor:
    """Multiply what is negative of (B, H, W, C) by a slope for each channel."""
    return channels_last(F.prelu(channels_first(data), slopes.flatten()))


def softmax(data: Tensor) -> Tensor:
    """Make the last dimension probabilities."""
    return data.softmax(dim=-1)


def identity(data: Tensor) -> Tensor:
    """Return what is given."""
    return data


def relu(data: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Replace what is negative by 0."""
    return torch.clamp_min(data, 0, out=out)


def relu6(data: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Clamp to [0, 6]."""
    return torch.clamp(data, 0, 6, out=out)


def _sum(*terms: Tensor) -> Tensor:
    return torch.stack(terms).sum(dim=0)


PLAIN: dict[str, Operation] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "AddN": _sum,
    "AddV2": torch.add,
    "BiasAdd": torch.add,
    "Identity": identity,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Mul": torch.mul,
    "Prelu": prelu,
    "Relu": relu,
    "Relu6": relu6,
    "Rsqrt": torch.rsqrt,
    "Sigmoid": torch.sigmoid,
    "Softmax": softmax,
    "Square": torch.square,
    "Sub": torch.sub,
}
"""Operations without settings."""

REUSING = frozenset(
    {"Abs", "Add", "AddV2", "BiasAdd", "Maximum", "Minimum", "Mul", "Relu", "Relu6", "Rsqrt", "Sigmoid"}
    | {"Square", "Sub"}
)
"""Those that can write into the memory of an input, given as `out`."""

VIEWING = frozenset({"Identity", "Reshape", "ResizeBilinear", "Squeeze"})
"""Operations whose output may share the memory of an input."""


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


def _windows(node: Node, kernel: tuple[int, int]) -> Windows:
    padding = node.text("padding")
    if padding not in ("SAME", "VALID") or node.text("data_format") not in ("", "NHWC"):
        raise ValueError(f"padding {padding} or layout {node.text('data_format')} is not supported")
    return Windows(kernel, node.sides("strides"), node.sides("dilations"), padding == "SAME")


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
        if self.kind not in ("Identity", "Relu", "Relu6", "Sigmoid", "Prelu"):
            raise ValueError(f"fused {words} is not supported")
        self.register_buffer("bias", constants[node.inputs[2]] if words else None, persistent=False)
        slopes = constants[node.inputs[3]] if self.kind == "Prelu" else None
        self.register_buffer("slopes", slopes, persistent=False)

    def activate(self, data: Tensor) -> Tensor:
        """Apply the activation to (B, H, W, C) or (B, C)."""
        return PLAIN[self.kind](data) if self.slopes is None else prelu(data, self.slopes)


class Convolution(nn.Module):
    """A convolution, all its channels together or each by itself, with what is fused into it."""

    weight: Tensor

    def __init__(self, node: Node, weight: Tensor, fused: Fused) -> None:
        super().__init__()
        height, width, inside, outside = weight.shape
        self.windows = _windows(node, (height, width))
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
            product = F.linear(data, self.weight.flatten(1), self.fused.bias)
            return self.fused.activate(product)
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


def _convolution(node: Node, constants: Constants) -> Step:
    layer = Convolution(node, constants[node.inputs[1]], Fused(node, constants))
    return Step(node, layer, node.inputs[:1])


def _dense(node: Node, constants: Constants) -> Step:
    layer = Dense(node, constants[node.inputs[1]], Fused(node, constants))
    return Step(node, layer, node.inputs[:1])


def _transposed(node: Node, constants: Constants) -> Step:
    _, weight, data = node.inputs
    return Step(node, TransposedConvolution(node, constants[weight]), (data,))


def _max_pool(node: Node, constants: Constants) -> Step:
    windows = _windows(node, node.sides("ksize"))

    def pool(data: Tensor) -> Tensor:
        image, _ = windows.pad(channels_first(data), -math.inf)
        return channels_last(F.max_pool2d(image, windows.kernel, windows.stride))

    return Step(node, pool, node.inputs)


def _average_pool(node: Node, constants: Constants) -> Step:
    windows = _windows(node, node.sides("ksize"))
    if windows.same:
        raise ValueError("averages over padded windows are not supported")

    def pool(data: Tensor) -> Tensor:
        if data.shape[1:3] == windows.kernel:
            return data.mean(dim=(1, 2), keepdim=True)
        return channels_last(F.avg_pool2d(channels_first(data), windows.kernel, windows.stride))

    return Step(node, pool, node.inputs)


def _reduction(node: Node, constants: Constants) -> Step:
    function = {"Mean": torch.mean, "Sum": torch.sum}[node.op]
    axes, keep = constants[node.inputs[1]].flatten().tolist(), node.flag("keep_dims")
    return Step(node, lambda data: function(data, dim=axes, keepdim=keep), node.inputs[:1])


def _reshape(node: Node, constants: Constants) -> Step:
    sides = constants[node.inputs[1]].flatten().tolist()

    def reshape(data: Tensor) -> Tensor:
        # Graphs that were written for one image run on several here: the first side is their number.
        if sides[0] == 1 and -1 not in sides:
            return data.reshape(len(data), *sides[1:])
        return data.reshape(sides)

    return Step(node, reshape, node.inputs[:1])


def _squeeze(node: Node, constants: Constants) -> Step:
    axes = node.integers("squeeze_dims")
    return Step(node, lambda data: data.squeeze(axes), node.inputs)


def _pad(node: Node, constants: Constants) -> Step:
    margins = constants[node.inputs[1]].tolist()
    if any(min(pair) < 0 for pair in margins):
        raise ValueError(f"margins {margins} are not understood")
    flat = [side for pair in reversed(margins) for side in pair]  # torch begins with the last dimension

    def pad(data: Tensor) -> Tensor:
        return F.pad(data, flat)

    return Step(node, pad, node.inputs[:1])


def _resize(node: Node, constants: Constants) -> Step:
    if node.flag("align_corners") or not node.flag("half_pixel_centers"):
        raise ValueError("only resizing with pixel centres at half pixels is supported")
    size = constants[node.inputs[1]].flatten().tolist()

    def resize(data: Tensor) -> Tensor:
        image = F.interpolate(channels_first(data), size, mode="bilinear", align_corners=False)
        return channels_last(image)

    return Step(node, resize, node.inputs[:1])


MAKERS: dict[str, Callable[[Node, Constants], Step]] = {
    "AvgPool": _average_pool,
    "Conv2D": _convolution,
    "Conv2DBackpropInput": _transposed,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "MatMul": _dense,
    "MaxPool": _max_pool,
    "Mean": _reduction,
    "Pad": _pad,
    "Reshape": _reshape,
    "ResizeBilinear": _resize,
    "Squeeze": _squeeze,
    "Sum": _reduction,
    "_FusedConv2D": _convolution,
    "_FusedMatMul": _dense,
}
"""Operations with settings or weights."""


def make_step(node: Node, constants: Constants) -> Step:
    """Make what computes a node.

    Raises:
        ValueError: This operation, or a setting of it, is not supported.
        KeyError, IndexError: What should be a constant is none, or is missing.
    """
    if node.op in PLAIN:
        return Step(node, PLAIN[node.op], node.inputs)
    if node.op not in MAKERS:
        raise ValueError(f"the operation {node.op} is not supported")
    return MAKERS[node.op](node, constants)
