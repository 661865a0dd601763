"""Writes graph models as TensorFlow.js has them."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np


def word(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def node(name: str, op: str, *inputs: str, **settings: Any) -> dict[str, Any]:
    """A node; settings are words, truths or lists of integers or words."""
    attributes: dict[str, Any] = {"T": {"type": "DT_FLOAT"}}
    for key, value in settings.items():
        if isinstance(value, bool):
            attributes[key] = {"b": value}
        elif isinstance(value, str):
            attributes[key] = {"s": word(value)}
        elif all(isinstance(each, str) for each in value):
            attributes[key] = {"list": {"s": [word(each) for each in value]}}
        else:
            attributes[key] = {"list": {"i": [str(each) for each in value]}}
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def image(*shape: int, name: str = "image") -> dict[str, Any]:
    dims = [{"size": str(side)} for side in (-1, *shape)]
    return {"name": name, "op": "Placeholder", "attr": {"shape": {"shape": {"dim": dims}}}}


def write_graph(
    path: Path, nodes: list[dict[str, Any]], constants: dict[str, Any], halves: bool = False, **more: Any
) -> Path:
    """Write a graph and its weights.

    Args:
        path: The JSON file.
        nodes: All but the constants.
        constants: Arrays, floats as fp32, by the names of their nodes.
        halves: Store floats as fp16.
        more: Further parts of the topology.
    """
    weights, content = [], b""
    for name, value in constants.items():
        array = np.asarray(value)
        array = array.astype("<i4" if array.dtype.kind == "i" else "<f4")
        entry = {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        if halves and array.dtype.kind == "f":
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            array = array.astype("<f2")
        weights.append(entry)
        content += array.tobytes()
    topology = {"node": [*({"name": name, "op": "Const"} for name in constants), *nodes], **more}
    manifest = [{"paths": ["/etc/passwd"], "weights": weights}]
    path.write_text(
        json.dumps({"format": "graph-model", "modelTopology": topology, "weightsManifest": manifest})
    )
    path.with_suffix(".bin").write_bytes(content)
    return path
