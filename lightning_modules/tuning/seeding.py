"""Randomness that is a function of the step, for layers that take no generator, such as dropout."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for a with block; afterwards they are where they were.

    A checkpoint could hold their states instead, but only one process writes it, and each has its own. What
    the backward pass computes again sees the same numbers, since checkpointing keeps the states itself.

    Args:
        seed: Decides all that is drawn in the block.
        device: Where it is drawn, besides the CPU.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
