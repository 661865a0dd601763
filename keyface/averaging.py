"""The moving average of weights in training: its decay, and one update of it."""

from collections.abc import Sequence

import torch
from torch import Tensor


def decay_after(updates: int, final: float) -> float:
    """Return the decay of an average that has had so many updates: `min(final, (1 + n) / (10 + n))`.

    It grows, so that a short run is not held back at its first weights.
    """
    return min(final, (1 + updates) / (10 + updates))


def average_in(averages: Sequence[Tensor], current: Sequence[Tensor], updates: int, final: float) -> None:
    """Take current weights into their averages, in place.

    Args:
        averages: Of each weight.
        current: The weights, in the same order.
        updates: How many the averages have had, the first of which copied.
        final: Final decay, in [0, 1).
    """
    # All weights at once: on a GPU one by one takes as long as a step of a small network.
    torch._foreach_lerp_(list(averages), list(current), 1 - decay_after(updates, final))
