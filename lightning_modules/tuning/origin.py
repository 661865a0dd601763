"""Where a checkpoint comes from: class, base and data, which must be the same where training goes on."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

_SAMPLED = 256


def fingerprint(network: nn.Module) -> str:
    """Return a digest of a network's names, shapes and the first values of each weight.

    Fine-tuning moves every weight a little, so that two networks of one architecture differ in it. Hashing
    all values of a Stable Diffusion U-Net would take seconds at each start.
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        if not value.is_meta:  # shapes alone, of which nothing can be saved
            digest.update(value.flatten()[:_SAMPLED].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]


def refuse_other_origin(checkpoint: Mapping[str, Any], origin: Mapping[str, str | None], title: str) -> None:
    """Say what a checkpoint was made with and this run has not; earlier versions noted nothing.

    Args:
        checkpoint: Its content.
        origin: Of this run, by what it is: `class`, `backbone`, `data`. What is None on either side is not
            known, and not compared.
        title: Names the module.

    Raises:
        ValueError: Something differs.
    """
    noted: Mapping[str, str | None] = checkpoint.get("origin", {})
    differing = [
        f"{name} {noted[name]} (here {here})"
        for name, here in origin.items()
        if here is not None and noted.get(name) not in (None, here)
    ]
    if differing:
        raise ValueError(
            f"{title}: the checkpoint was made with another {', another '.join(differing)}; use the config "
            "of the run that made it, or begin anew"
        )
