"""Weights of small networks as half-precision safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

FILE = "model.safetensors"


def save_network(network: nn.Module, folder: Path) -> None:
    """Write a network's state to `folder/model.safetensors`; floats in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, folder / FILE)


def load_network(network: nn.Module, folder: Path) -> nn.Module:
    """Read `folder/model.safetensors` into a network and freeze it.

    Returns:
        The same network in single precision and evaluation mode, without gradients.

    Raises:
        FileNotFoundError: If the file is missing.
        RuntimeError: If names or shapes differ.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}; train them with `lightning fit`, see configs/miniature"
        )
    state = load_file(path)
    network.load_state_dict({name: v.float() if v.dtype == torch.float16 else v for name, v in state.items()})
    return network.eval().requires_grad_(False)
