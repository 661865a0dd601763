"""A moving average of the weights for runs of any length."""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from keyface.averaging import average_in

Tensors = tuple[Tensor, ...] | list[Tensor]


class MovingAverage(WeightAveraging):
    """Validates and ends with an exponential moving average of the weights.

    The decay grows with the number of updates, see `keyface.averaging`, as that of the branches does:
    Lightning's own `EMAWeightAveraging` keeps one decay, which holds a short run back at its first weights.

    Args:
        decay: Final decay, in [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"MovingAverage: decay is {decay}, it must be in [0, 1)")

        def average(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
            average_in(averaged, current, int(updates), decay)

        super().__init__(multi_avg_fn=average, use_buffers=False)
