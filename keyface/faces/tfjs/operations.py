"""What the nodes of a TensorFlow graph compute, on torch; images are (B, H, W, C), see `layers`."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.faces.tfjs.graph import Node
from keyface.faces.tfjs.layers import (
    Constants,
    Convolution,
    Dense,
    Fused,
    Operation,
    TransposedConvolution,
    channels_first,
    channels_last,
    identity,
    prelu,
    relu,
    relu6,
    windows_of,
)


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


def softmax(data: Tensor) -> Tensor:
    """Make the last dimension probabilities."""
    return data.softmax(dim=-1)


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
    windows = windows_of(node, node.sides("ksize"))

    def pool(data: Tensor) -> Tensor:
        image, _ = windows.pad(channels_first(data), -math.inf)
        return channels_last(F.max_pool2d(image, windows.kernel, windows.stride))

    return Step(node, pool, node.inputs)


def _average_pool(node: Node, constants: Constants) -> Step:
    windows = windows_of(node, node.sides("ksize"))
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
