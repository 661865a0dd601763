"""A TensorFlow.js graph as a module of torch."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from keyface.faces.tfjs.graph import Graph, Node, read_graph
from keyface.faces.tfjs.layers import channels_last
from keyface.faces.tfjs.operations import REUSING, VIEWING, Step, make_step

_MOST_ELEMENTS = 2**24
"""Of one image's values between two operations."""
_TRIED = 2


class GraphNetwork(nn.Module):
    """A frozen network with one image as input; gradients can go through it to the image.

    Args:
        graph: What it computes.
        outputs: Names of the nodes whose values it returns.
    """

    def __init__(self, graph: Graph, outputs: Sequence[str]) -> None:
        super().__init__()
        self.placeholder, self.outputs = graph.placeholder, tuple(outputs)
        height, width, channels = graph.shape
        self.shape = (channels, height, width)
        self.steps = [_make(node, graph) for node in graph.nodes]
        self.layers = nn.ModuleList(
            step.operation for step in self.steps if isinstance(step.operation, nn.Module)
        )
        used = {name for step in self.steps for name in step.inputs}
        self.constants = {
            name: f"constant{index}" for index, name in enumerate(sorted(used & graph.constants.keys()))
        }
        for name, buffer in self.constants.items():
            self.register_buffer(buffer, graph.constants[name], persistent=False)
        self.plan = _plan(self, self._shapes(graph.path))

    @classmethod
    def load(cls, path: Path, outputs: Sequence[str]) -> Self:
        """Read a graph from its JSON file and the .bin file beside it.

        Args:
            path: The JSON file.
            outputs: Names of the nodes whose values are wanted.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged, or the graph computes what is not supported.
        """
        return cls(read_graph(path, outputs), outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs, (B, …) each, for images (B, C, H, W) of the size `shape`."""
        values = {name: getattr(self, buffer) for name, buffer in self.constants.items()}
        values[self.placeholder] = channels_last(images.contiguous(memory_format=torch.channels_last))
        # Reusing memory would destroy what gradients need.
        reuse = not (torch.is_grad_enabled() and images.requires_grad)
        for step, (done, room) in zip(self.steps, self.plan, strict=True):
            given = [values[name] for name in step.inputs]
            if reuse and room is not None:
                values[step.node.name] = step.operation(*given, out=values[room])
            else:
                values[step.node.name] = step.operation(*given)
            for name in done:
                del values[name]
        return tuple(values[name] for name in self.outputs)

    def _shapes(self, path: Path) -> dict[str, torch.Size]:
        """Compute all shapes, without any values, so that a damaged file does no harm later."""
        dry = copy.deepcopy(self).to("meta")
        values = {name: getattr(dry, buffer) for name, buffer in dry.constants.items()}
        height, width, channels = dry.shape[1], dry.shape[2], dry.shape[0]
        values[dry.placeholder] = torch.empty(_TRIED, height, width, channels, device="meta")
        for step in dry.steps:
            try:
                value = step.operation(*(values[name] for name in step.inputs))
            except (RuntimeError, IndexError, TypeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise ValueError(f"{path}: node {step.node.name} ({step.node.op}): {reason:.160}") from error
            if value.numel() > _TRIED * _MOST_ELEMENTS:
                raise ValueError(
                    f"{path}: node {step.node.name} ({step.node.op}) gives {value.numel()} numbers"
                )
            values[step.node.name] = value
        wrong = [name for name in dry.outputs if values[name].dim() < 1 or len(values[name]) != _TRIED]
        if wrong:
            raise ValueError(f"{path}: {wrong[0]} is not one value for each image")
        return {name: value.shape for name, value in values.items()}


def _plan(network: GraphNetwork, shapes: dict[str, torch.Size]) -> list[tuple[list[str], str | None]]:
    """Plan the memory.

    Returns:
        For each step the values that nobody needs after it, and the one of them whose memory its output may
        take: of the output's shape, made by a step, and seen by no other name.
    """
    makers = {step.node.name: step.node.op for step in network.steps}
    users: dict[str, list[int]] = {}
    for index, step in enumerate(network.steps):
        for name in step.inputs:
            users.setdefault(name, []).append(index)
    plan: list[tuple[list[str], str | None]] = []
    for index, step in enumerate(network.steps):
        done = [name for name in dict.fromkeys(step.inputs) if users[name][-1] == index]
        done = [name for name in done if name not in network.outputs]
        rooms = [
            name
            for name in done
            if step.node.op in REUSING
            and makers.get(name, "Identity") not in VIEWING
            and not any(network.steps[user].node.op in VIEWING for user in users[name])
            and shapes[name] == shapes[step.node.name]
        ]
        plan.append((done, rooms[0] if rooms else None))
    return plan


def _make(node: Node, graph: Graph) -> Step:
    try:
        step = make_step(node, graph.constants)
    except (ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{graph.path}: node {node.name} ({node.op}): {reason:.160}") from error
    return step
