"""Where to compute."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def choose_device(name: torch.device | str | None, where: str = "device") -> torch.device:
    """Return the device of a name, or without a name a GPU where there is one, else the CPU.

    Args:
        name: As torch names it: cpu, cuda, cuda:1, mps.
        where: The option or argument that the name comes from, for the message.

    Raises:
        ValueError: There is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # `meta` has tensors, but no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"{where} {name}: cannot compute there; devices here: {', '.join(devices())}"
        ) from error
    return device


def devices() -> list[str]:
    """Return the names of the devices of this machine."""
    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


@contextmanager
def placed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Have a network on a device for a with block; afterwards each of its weights is where it was."""
    before = [(each, each.device) for each in (*network.parameters(), *network.buffers())]
    network.to(device)
    try:
        yield
    finally:
        for tensor, home in before:
            tensor.data = tensor.data.to(home)


def memory_of(device: torch.device) -> int:
    """Return how many bytes of memory a device has, used or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_of(device: torch.device) -> int:
    """Return the most bytes that this process has held on a device; on the CPU of all its memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
