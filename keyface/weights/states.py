"""States of networks: read from files without running anything in them, given to networks that fit."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


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
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: no weights that can be read safely: {reason:.160}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: not a state of tensors by name")
    return state


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
