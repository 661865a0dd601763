"""States of networks: read from files without running anything in them, given to networks that fit."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from keyface.weights.checksum import require_checksum


def read_state(path: Path | str) -> dict[str, Tensor]:
    """Read tensors by name from a safetensors file, or from a .pt or .pth file that holds nothing else.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, of another format, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; see `keyface weights list`")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix not in (".pt", ".pth"):
            raise ValueError(f"{path}: weights are read from .safetensors, .pt and .pth files")
    except SafetensorError as error:
        raise ValueError(f"{path}: no weights that can be read safely: {error}") from error
    state = read_pickle(path, "weights")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: not a state of tensors by name")
    return state


def read_pickle(path: Path, what: str, *, mapped: bool = False) -> Any:
    """Return what torch saved in a file, of which only tensors and plain values are read.

    Args:
        path: The file.
        what: What it should be, for the message.
        mapped: Leave tensors on the disk until they are used.

    Raises:
        OSError: There is no such file, or it may not be read.
        ValueError: It is damaged, of another format, or holds more.
    """
    require_checksum(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
    except OSError:
        raise
    except Exception as error:  # the unpickler takes any bytes for its commands, and fails in any way
        reason = (
            str(error).splitlines()[0] if isinstance(error, RuntimeError | pickle.UnpicklingError) else ""
        )
        raise ValueError(
            f"{path}: no {what} that can be read safely: {reason or 'damaged, or of another format':.160}"
        ) from error


def give_state(network: nn.Module, state: dict[str, Tensor], path: Path | str) -> None:
    """Give a network the weights of a file and freeze it.

    Args:
        network: Ends in fp32, in evaluation mode, without gradients.
        state: Tensors by name.
        path: Names the file in errors.

    Raises:
        ValueError: Names or shapes differ from the network's.
    """
    expected = network.state_dict()
    wrong = [
        name
        for name in sorted(expected.keys() | state.keys())
        if name not in expected or name not in state or expected[name].shape != state[name].shape
    ]
    if wrong:
        raise ValueError(
            f"{path}: not the weights of a {type(network).__name__}: {len(wrong)} names or shapes differ, "
            f"for instance {wrong[0]!r}"
        )
    network.load_state_dict(state)
    network.float().eval().requires_grad_(False)
