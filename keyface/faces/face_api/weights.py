"""Reads the weights of TensorFlow.js: a JSON manifest and one file of bytes, quantized or not."""

import json
import math
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from keyface.weights.states import give_state

_TYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "int32": np.dtype("<i4"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
}
_MANIFEST_LIMIT = 2**20

_RENAMED = {
    "filters": "weight",
    "weights": "weight",
    "biases": "bias",
    "depthwise_filter": "depthwise.weight",
    "pointwise_filter": "pointwise.weight",
}


def read_tensors(folder: Path, model: str) -> dict[str, Tensor]:
    """Read `MODEL-weights_manifest.json` and the file of bytes that belongs to it.

    A quantized value q stands for `q · scale + min`.

    Args:
        folder: Where both files are.
        model: Name that the files begin with.

    Returns:
        fp32 tensors by the names of the manifest, in TensorFlow's layout.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The manifest is damaged, or the bytes are not as many as it says.
    """
    manifest, content = _files(folder, model)
    missing = [path.name for path in (manifest, content) if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; run `keyface weights get face-api`")
    if manifest.stat().st_size > _MANIFEST_LIMIT:
        raise ValueError(f"{manifest}: larger than {_MANIFEST_LIMIT} bytes, this is no manifest of weights")
    try:
        entries = [entry for group in json.loads(manifest.read_bytes()) for entry in group["weights"]]
        layout = [_layout(entry) for entry in entries]
    except (
        UnicodeDecodeError,
        json.JSONDecodeError,
        RecursionError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{manifest}: no manifest of TensorFlow.js weights: {error!r}") from error
    data = content.read_bytes()
    needed = sum(count * stored.itemsize for _, _, count, stored, _, _ in layout)
    if len(data) != needed:
        raise ValueError(f"{content}: {len(data)} bytes, the manifest describes {needed}; fetch it again")
    tensors, offset = {}, 0
    for name, shape, count, stored, scale, least in layout:
        values = np.frombuffer(data, stored, count, offset).astype(np.float32)
        tensors[name] = torch.from_numpy(values * np.float32(scale) + np.float32(least)).view(shape)
        offset += count * stored.itemsize
    return tensors


def _files(folder: Path, model: str) -> tuple[Path, Path]:
    return folder / f"{model}-weights_manifest.json", folder / f"{model}.bin"


def _layout(entry: dict[str, Any]) -> tuple[str, list[int], int, np.dtype[Any], float, float]:
    shape = [int(side) for side in entry["shape"]]
    if entry["dtype"] not in ("float32", "int32") or any(side < 1 for side in shape):
        raise ValueError(f"{entry['name']} is {entry['dtype']} of shape {shape}")
    plain = {"dtype": entry["dtype"], "scale": 1.0, "min": 0.0}
    quantization = entry.get("quantization") or plain
    stored = _TYPES[quantization["dtype"]]
    scale, least = float(quantization["scale"]), float(quantization["min"])
    return str(entry["name"]), shape, math.prod(shape), stored, scale, least


class FaceApiNetwork(nn.Module):
    """A network whose parts have the names of the published file, `MODEL`."""

    MODEL: ClassVar[str]

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Return whether the network's files are in a folder of face-api's files."""
        return all(path.is_file() for path in _files(folder, cls.MODEL))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the network from the folder of face-api's files; it is frozen.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged, or belongs to another network.
        """
        tensors = read_tensors(folder, cls.MODEL)
        names = cls.parts_of(list(tensors))
        state = {names[name]: _torch_layout(name, tensors[name]) for name in names}
        network = cls()
        give_state(network, state, folder / f"{cls.MODEL}.bin")
        return network

    @classmethod
    def parts_of(cls, names: list[str]) -> dict[str, str]:
        """Return the network's part for each of a file's tensors; those that it does without are left out."""
        separable = {name.rpartition("/")[0] for name in names if name.endswith("/depthwise_filter")}
        return {name: _torch_name(name, separable) for name in names}


def _torch_name(name: str, separable: set[str]) -> str:
    path, _, last = name.rpartition("/")
    if not path:  # the bare matrix of the identity network
        return f"{last}.weight"
    if last == "bias" and path in separable:
        last = "pointwise.bias"
    return f"{path.replace('/', '.')}.{_RENAMED.get(last, last)}"


def _torch_layout(name: str, value: Tensor) -> Tensor:
    if name.endswith(("/depthwise_filter", "/depthwise_weights")):
        return value.permute(2, 3, 0, 1).contiguous()
    if value.dim() == 4:
        return value.permute(3, 2, 0, 1).contiguous()
    return value.T.contiguous() if value.dim() == 2 else value
