"""Reads the weights of TensorFlow.js: a JSON manifest and one file of bytes, quantized or not."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from keyface.untrusted import read_json

# What a network has, and how it is stored.
_TYPES: dict[str, dict[str, np.dtype[Any]]] = {
    "float32": {
        "float32": np.dtype("<f4"),
        "float16": np.dtype("<f2"),
        "uint8": np.dtype("u1"),
        "uint16": np.dtype("<u2"),
    },
    "int32": {"int32": np.dtype("<i4"), "uint8": np.dtype("u1"), "uint16": np.dtype("<u2")},
    "bool": {"bool": np.dtype("?")},
}
_MANIFEST_LIMIT = 2**20
_CONTENT_LIMIT = 2**28

Damage = (KeyError, TypeError, ValueError)
"""What reading a damaged JSON file raises."""


class Stored(NamedTuple):
    """How one tensor lies in the file of bytes.

    Attributes:
        name: Its name in the network.
        shape: In TensorFlow's layout.
        dtype: What the network has.
        stored: What the file has.
        scale: A stored value q stands for `q · scale + least`.
        least: See `scale`.
    """

    name: str
    shape: list[int]
    dtype: str
    stored: np.dtype[Any]
    scale: float
    least: float

    @property
    def bytes(self) -> int:
        """How much of the file it takes."""
        return math.prod(self.shape) * self.stored.itemsize

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Stored":
        """Read one entry of a manifest.

        Raises:
            KeyError, TypeError, ValueError: It is damaged.
        """
        name, dtype, shape = str(entry["name"]), str(entry["dtype"]), [int(side) for side in entry["shape"]]
        if any(side < 1 for side in shape) or dtype not in _TYPES:
            raise ValueError(f"{name} is {dtype} of shape {shape}")
        quantization = entry.get("quantization") or {"dtype": dtype}
        stored = _TYPES[dtype][quantization["dtype"]]
        scale, least = float(quantization.get("scale", 1.0)), float(quantization.get("min", 0.0))
        return cls(name, shape, dtype, stored, scale, least)


def read_tensors(folder: Path, model: str) -> dict[str, Tensor]:
    """Read `MODEL-weights_manifest.json` and the file of bytes that belongs to it.

    Args:
        folder: Where both files are.
        model: Name that the files begin with.

    Returns:
        Tensors by the names of the manifest, in TensorFlow's layout.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The manifest is damaged, or the bytes are not as many as it says.
    """
    manifest, content = folder / f"{model}-weights_manifest.json", folder / f"{model}.bin"
    missing = [path.name for path in (manifest, content) if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; run `keyface weights get face-api`")
    groups = read_json(manifest, limit=_MANIFEST_LIMIT)
    try:
        layout = read_layout(groups)
    except Damage as error:
        raise ValueError(f"{manifest}: no manifest of TensorFlow.js weights: {error!r}") from error
    return read_content(content, layout)


def read_layout(groups: Iterable[dict[str, Any]]) -> list[Stored]:
    """Read a manifest; what it says of other files is not looked at.

    Raises:
        KeyError, TypeError, ValueError: It is damaged.
    """
    return [Stored.of(entry) for group in groups for entry in group["weights"]]


def read_content(path: Path, layout: list[Stored]) -> dict[str, Tensor]:
    """Read the file of bytes.

    Args:
        path: The file.
        layout: What lies in it, one after the other.

    Returns:
        fp32, int32 or bool tensors by name, in TensorFlow's layout.

    Raises:
        ValueError: The bytes are not as many as they should be.
    """
    needed, there = sum(entry.bytes for entry in layout), path.stat().st_size
    if there != needed:
        raise ValueError(f"{path}: {there} bytes, the manifest describes {needed}; fetch it again")
    if needed > _CONTENT_LIMIT:
        raise ValueError(f"{path}: larger than {_CONTENT_LIMIT} bytes")
    data = path.read_bytes()
    tensors, offset = {}, 0
    for entry in layout:
        values = np.frombuffer(data, entry.stored, math.prod(entry.shape), offset)
        if entry.dtype != "bool" and entry.stored.name != "int32":
            values = values.astype(np.float32) * np.float32(entry.scale) + np.float32(entry.least)
        if entry.dtype == "int32":
            values = values.round()
        tensors[entry.name] = torch.from_numpy(values.astype(entry.dtype)).view(entry.shape)
        offset += entry.bytes
    return tensors
