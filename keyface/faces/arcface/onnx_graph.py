"""ONNX graphs of face recognition networks, run by torch so that gradients reach the images.

insightface publishes its networks as ONNX with batch norm folded into the convolutions, so the weights have
no counterpart in a PyTorch definition. The graphs are short lists of a few operator types; each is one call
here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attributes = dict[str, Any]
Operator = Callable[[list[Tensor], Attributes], Tensor]


def _convolution(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    data, weight = inputs[:2]
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ValueError(f"auto_pad {attributes['auto_pad'].decode()} of a Conv is not supported")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        data, top, left = F.pad(data, (left, right, top, bottom)), 0, 0
    return F.conv2d(
        data,
        weight,
        inputs[2] if len(inputs) > 2 else None,
        stride=attributes.get("strides", [1, 1]),
        padding=(top, left),
        dilation=attributes.get("dilations", [1, 1]),
        groups=attributes.get("group", 1),
    )


def _batch_norm(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    data, scale, bias, mean, variance = inputs
    return F.batch_norm(data, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _prelu(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    # ONNX broadcasts the slope, (C, 1, 1), against the data; torch wants (C,).
    data, slope = inputs
    return torch.where(data >= 0, data, data * slope)


def _gemm(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    left = inputs[0].T if attributes.get("transA", 0) else inputs[0]
    right = inputs[1].T if attributes.get("transB", 0) else inputs[1]
    product: Tensor = attributes.get("alpha", 1.0) * (left @ right)
    if len(inputs) > 2:
        product = product + attributes.get("beta", 1.0) * inputs[2]
    return product


def _flatten(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    axis = attributes.get("axis", 1)
    if axis != 1:
        raise ValueError(f"Flatten along axis {axis} is not supported")
    return inputs[0].flatten(1)


OPERATORS: dict[str, Operator] = {
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "BatchNormalization": _batch_norm,
    "Conv": _convolution,
    "Dropout": lambda inputs, _: inputs[0],
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean(dim=(2, 3), keepdim=True),
    "Identity": lambda inputs, _: inputs[0],
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "PRelu": _prelu,
    "Relu": lambda inputs, _: inputs[0].relu(),
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
}
"""What the networks of insightface's packs consist of."""


@dataclass(frozen=True)
class Node:
    """One operator of a graph.

    Attributes:
        kind: Name of the operator, a key of `OPERATORS`.
        inputs: Names of its inputs, weights among them.
        output: Name of what it gives.
        attributes: Its settings.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes


class OnnxGraph(nn.Module):
    """A feed-forward ONNX graph with one input and one output, frozen, in evaluation mode.

    Args:
        nodes: In the order in which they run.
        weights: Constants by name.
        source: Name of the input.
        result: Name of the output.
        size: Height and width of the input, where the graph fixes them.
    """

    def __init__(
        self,
        nodes: list[Node],
        weights: dict[str, Tensor],
        source: str,
        result: str,
        size: tuple[int, int] | None,
    ) -> None:
        super().__init__()
        self.nodes = nodes
        self.source = source
        self.result = result
        self.size = size
        self._places = {name: f"weight_{index}" for index, name in enumerate(weights)}
        for name, place in self._places.items():
            weight = weights[name]
            if weight.is_floating_point():
                # No buffers: of those, processes that train together send copies at every step.
                self.register_parameter(place, nn.Parameter(weight, requires_grad=False))
            else:
                self.register_buffer(place, weight, persistent=False)

    def _save_to_state_dict(self, *_: Any) -> None:
        """Leave the weights, which the ONNX file has, out of checkpoints."""

    def _load_from_state_dict(self, *_: Any) -> None:
        """Ask a checkpoint for nothing."""

    @property
    def kinds(self) -> set[str]:
        """The operator types that the graph consists of."""
        return {node.kind for node in self.nodes}

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read an ONNX file; nothing in it is executed, and files that it points to are not opened.

        Raises:
            FileNotFoundError: There is no such file.
            ImportError: The package `onnx` is not installed.
            ValueError: It is no ONNX, keeps weights in other files, or needs an unsupported operator.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; an ONNX network is needed")
        model = read_onnx(path)
        nodes = [_node(node, path) for node in model.graph.node if node.op_type != "Constant"]
        weights = _constants(model.graph, path)
        unknown = sorted({node.kind for node in nodes} - OPERATORS.keys())
        if unknown:
            raise ValueError(
                f"{path}: needs the operators {', '.join(unknown)}; only {', '.join(OPERATORS)} are run, "
                "which is what face recognition networks of insightface consist of"
            )
        sources = [each for each in model.graph.input if each.name not in weights]
        if len(sources) != 1 or len(model.graph.output) != 1:
            raise ValueError(
                f"{path}: has {len(sources)} inputs and {len(model.graph.output)} outputs; a recognition "
                "network has one each"
            )
        _check_order(nodes, {*weights, sources[0].name}, model.graph.output[0].name, path)
        return cls(nodes, weights, sources[0].name, model.graph.output[0].name, _size_of(sources[0]))

    def forward(self, data: Tensor) -> Tensor:
        """Run the graph.

        Args:
            data: (B, 3, H, W), fp32, as the weights are.

        Returns:
            (B, D).
        """
        values = {name: getattr(self, place) for name, place in self._places.items()}
        values[self.source] = data
        remaining = {name: index for index, node in enumerate(self.nodes) for name in node.inputs}
        for index, node in enumerate(self.nodes):
            inputs = [values[name] for name in node.inputs]
            values[node.output] = OPERATORS[node.kind](inputs, node.attributes)
            for name in node.inputs:  # what is not needed again must not hold memory
                if remaining[name] == index and name != self.result:
                    values.pop(name, None)
        result: Tensor = values[self.result]
        return result


def read_onnx(path: Path) -> Any:
    """Return the ONNX model of a file; files that it points to are not opened.

    Raises:
        ImportError: The package `onnx` is not installed.
        ValueError: It is no ONNX network.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"{path}: reading ONNX needs `pip install keyface[faces]`") from error
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"{path}: not an ONNX file, or damaged: {error}") from error
    if not model.graph.node or not model.graph.output:
        raise ValueError(f"{path}: not an ONNX network: it has no nodes or no output")
    return model


def _node(node: Any, path: Path) -> Node:
    import onnx

    if node.domain not in ("", "ai.onnx"):
        raise ValueError(f"{path}: the operator {node.op_type} is of the foreign domain {node.domain!r}")
    # Dropout may name a second output, a mask that nothing reads in evaluation.
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    inputs = tuple(name for name in node.input if name)
    # Identity and Dropout read their first input only; the others are ratios.
    used = inputs[:1] if node.op_type in ("Identity", "Dropout") else inputs
    return Node(node.op_type, used, node.output[0], attributes)


def _constants(graph: Any, path: Path) -> dict[str, Tensor]:
    import onnx

    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values = [each.t for each in node.attribute if each.name == "value"]
            if len(values) != 1:
                raise ValueError(f"{path}: the constant {node.output[0]} holds no tensor")
            stored[node.output[0]] = values[0]
    weights = {}
    for name, tensor in stored.items():
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(
                f"{path}: keeps weights in other files, which are not opened; save it as one file"
            )
        try:
            weight = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: the weight {name!r} is damaged: {error}") from error
        weights[name] = weight.float() if weight.is_floating_point() else weight
    return weights


def _check_order(nodes: list[Node], known: set[str], result: str, path: Path) -> None:
    for node in nodes:
        unknown = [name for name in node.inputs if name not in known]
        if unknown:
            raise ValueError(f"{path}: {node.kind} reads {unknown[0]!r}, which nothing made before it")
        known = known | {node.output}
    if result not in known:
        raise ValueError(f"{path}: nothing makes the output {result!r}")


def _size_of(value: Any) -> tuple[int, int] | None:
    sides = [each.dim_value for each in value.type.tensor_type.shape.dim]
    return (sides[2], sides[3]) if len(sides) == 4 and all(sides[2:]) else None
