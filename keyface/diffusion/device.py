"""Where to compute."""

import os
import resource
import warnings
from functools import cache
from pathlib import Path

import torch

DRIVER = Path("/proc/driver/nvidia/version")
"""Is there where the driver of an NVIDIA GPU is loaded."""


def choose_device(
    name: torch.device | str | None, where: str = "device", *, strict: bool = False
) -> torch.device:
    """Return the device of a name, or without a name a GPU where there is one, else the CPU.

    Where the machine has a GPU that torch cannot use, the CPU in its place is warned of, once.

    Args:
        name: As torch names it: cpu, cuda, cuda:1, mps.
        where: The option or argument that the name comes from, for the message.
        strict: Take no CPU in place of a GPU; who names the CPU gets it.

    Raises:
        ValueError: There is no such device here; or, if `strict`, no GPU that torch can use.
    """
    if name is None and torch.cuda.is_available():
        return torch.device("cuda")
    if name is None:
        if strict:
            raise ValueError(f"--strict-device: {_no_gpu()}; leave it out, or name --device cpu")
        if DRIVER.exists():
            _warn_once(f"{_no_gpu()}; computing on the CPU")
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # `meta` has tensors, but no values
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise ValueError(
            f"{where} {name}: cannot compute there; devices here: {', '.join(devices())}"
        ) from error
    return device


def _no_gpu() -> str:
    if not DRIVER.exists():
        return "there is no NVIDIA GPU here"
    return f"torch {torch.__version__} cannot use the GPU that is here; `keyface doctor` says why"


@cache
def _warn_once(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def devices() -> list[str]:
    """Return the names of the devices of this machine."""
    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


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
