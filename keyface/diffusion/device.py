"""Where to compute."""

import torch


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
