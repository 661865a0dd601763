"""Reads a TensorFlow.js graph model: the JSON file with its nodes, and the file of weights beside it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from torch import Tensor

from keyface.faces.tfjs.weights import Damage, read_content, read_layout
from keyface.untrusted import read_json_object

_JSON_LIMIT = 2**21
_NODES_LIMIT = 2**12


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    Attributes:
        name: Its name, which is that of its output.
        op: What it computes, in TensorFlow's words.
        inputs: Names of the nodes that it takes.
        attributes: Its settings as the file has them.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Node":
        """Make one from the file's.

        Raises:
            KeyError, TypeError, ValueError: It is damaged.
        """
        inputs = []
        for text in fields.get("input", ()):
            name, _, output = str(text).partition(":")
            if output not in ("", "0"):
                raise ValueError(f"node {fields['name']}: takes output {output} of {name}, not the first")
            if not name.startswith("^"):  # that only says what runs before
                inputs.append(name)
        return cls(str(fields["name"]), str(fields["op"]), tuple(inputs), dict(fields.get("attr", {})))

    def integers(self, name: str) -> list[int]:
        """Return a setting that is a list of integers; empty if it is not given."""
        return [int(value) for value in self.attributes.get(name, {}).get("list", {}).get("i", ())]

    def sides(self, name: str) -> tuple[int, int]:
        """Return height and width of a setting with one number a dimension (B, H, W, C)."""
        values = self.integers(name) or [1, 1, 1, 1]
        if len(values) != 4 or values[0] != 1 or values[3] != 1 or min(values) < 1:
            raise ValueError(f"{name} {values} is not understood")
        return values[1], values[2]

    def flag(self, name: str) -> bool:
        """Return a setting that is true or false; false if it is not given."""
        return bool(self.attributes.get(name, {}).get("b", False))

    def text(self, name: str) -> str:
        """Return a setting that is a word; empty if it is not given."""
        return _decoded(self.attributes.get(name, {}).get("s", ""))

    def words(self, name: str) -> list[str]:
        """Return a setting that is a list of words; empty if it is not given."""
        return [_decoded(value) for value in self.attributes.get(name, {}).get("list", {}).get("s", ())]


@dataclass(frozen=True)
class Graph:
    """What is needed of a graph for certain outputs.

    Attributes:
        path: The file.
        placeholder: Name of the node that is the image.
        shape: Of one image there: height, width, channels.
        nodes: In an order in which they can be computed; without constants and placeholder.
        constants: By the names of their nodes.
    """

    path: Path
    placeholder: str
    shape: tuple[int, int, int]
    nodes: list[Node]
    constants: dict[str, Tensor]


def read_graph(path: Path, outputs: Sequence[str]) -> Graph:
    """Read what some outputs of a graph with one image as input need.

    Args:
        path: The JSON file; the weights are in `NAME.bin` beside it.
        outputs: Names of nodes.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or not such a graph.
    """
    content = path.with_suffix(".bin")
    missing = [each.name for each in (path, content) if not each.is_file()]
    if missing:
        raise FileNotFoundError(f"{path.parent} lacks {', '.join(missing)}; run `keyface weights get human`")
    model = read_json_object(path, limit=_JSON_LIMIT)
    try:
        nodes = [Node.of(fields) for fields in model["modelTopology"]["node"]]
        if len(nodes) > _NODES_LIMIT or (model["modelTopology"].get("library") or {}).get("function"):
            raise ValueError("too many nodes, or functions")
        ordered = _ordered({node.name: node for node in nodes}, outputs)
        placeholder, shape = _placeholder(ordered)
        layout = read_layout(model["weightsManifest"])
    except (AttributeError, CycleError, *Damage) as error:
        raise ValueError(f"{path}: no graph of TensorFlow.js: {error!r:.200}") from error
    tensors = read_content(content, layout)
    constants = [node.name for node in ordered if node.op == "Const"]
    if not tensors.keys() >= set(constants):
        raise ValueError(f"{path}: has no weights for {min(set(constants) - tensors.keys())}")
    computed = [node for node in ordered if node.op not in ("Const", "Placeholder")]
    return Graph(path, placeholder, shape, computed, {name: tensors[name] for name in constants})


def _ordered(nodes: dict[str, Node], outputs: Sequence[str]) -> list[Node]:
    needed: dict[str, tuple[str, ...]] = {}
    left = list(outputs)
    while left:
        name = left.pop()
        if name not in needed:
            if name not in nodes:
                raise ValueError(f"there is no node {name}")
            needed[name] = nodes[name].inputs
            left.extend(needed[name])
    return [nodes[name] for name in TopologicalSorter(needed).static_order()]


def _placeholder(nodes: Sequence[Node]) -> tuple[str, tuple[int, int, int]]:
    """Return name and shape of the only input, an image."""
    found = [node for node in nodes if node.op == "Placeholder"]
    if len(found) != 1:
        raise ValueError(f"{len(found)} inputs, not one")
    dims = [int(dim["size"]) for dim in found[0].attributes["shape"]["shape"]["dim"]]
    if len(dims) != 4 or dims[0] not in (-1, 1) or not all(1 <= side <= 4096 for side in dims[1:]):
        raise ValueError(f"the input is no image: {dims}")
    return found[0].name, (dims[1], dims[2], dims[3])


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode("ascii")
