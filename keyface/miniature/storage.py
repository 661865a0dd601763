"""Weights of small networks as half-precision safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from keyface.progress import say

FILE = "model.safetensors"


def save_network(network: nn.Module, folder: Path) -> None:
    """Write a network's state to `folder/model.safetensors`; floats in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, folder / FILE)


def go_on_from(network: nn.Module, folder: str | Path | None) -> None:
    """Read `folder/model.safetensors` into a network that is to be trained on; None leaves it as it is.

    What has another shape there, as the places of a larger picture, begins anew, and that is said.

    Raises:
        FileNotFoundError: If the file is missing.
        RuntimeError: If it is of another network: names differ, or no shape fits.
    """
    if folder is None:
        return
    state = read_state(Path(folder))
    own = network.state_dict()
    fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if set(state) != set(own) or not fits:
        raise RuntimeError(f"{folder} has weights of another network than {type(network).__name__}")
    if anew := sorted(set(own) - set(fits)):
        say(f"{folder}: {', '.join(anew)} of another shape, begun anew")
    network.load_state_dict({**own, **fits})


def load_network(network: nn.Module, folder: Path) -> nn.Module:
    """Read `folder/model.safetensors` into a network and freeze it.

    Returns:
        The same network in single precision and evaluation mode, without gradients.

    Raises:
        FileNotFoundError: If the file is missing.
        RuntimeError: If names or shapes differ.
    """
    network.load_state_dict(read_state(folder))
    return network.eval().requires_grad_(False)


def read_state(folder: Path) -> dict[str, Tensor]:
    """Read `folder/model.safetensors`, floats in single precision.

    Raises:
        FileNotFoundError: If the file is missing.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}; train them with `lightning fit`, see configs/miniature"
        )
    return {name: v.float() if v.dtype == torch.float16 else v for name, v in load_file(path).items()}
