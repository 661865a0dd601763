"""An exponential moving average of the trained parameters only."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class ExponentialMovingAverage(AveragedModel):
    """PyTorch's `AveragedModel` over a list of parameters instead of a whole model.

    Frozen networks are not copied, so that with LoRA the average costs next to nothing. The decay grows
    with the number of updates, ``min(decay, (1 + n) / (10 + n))``: a short run is not held back by its start.
    As a submodule it is saved in checkpoints and moves between devices by itself.

    Args:
        parameters: What is trained, always in the same order.
        decay: Final decay, in [0, 1).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"ema_decay is {decay}; it must be in [0, 1), or null for no average")
        super().__init__(nn.ParameterList(parameters), multi_avg_fn=self._average)
        self.decay = decay
        self.requires_grad_(False)

    def _average(
        self,
        averages: tuple[Tensor, ...] | list[Tensor],
        current: tuple[Tensor, ...] | list[Tensor],
        updates: Tensor | int,
    ) -> None:
        decay = min(self.decay, (1 + int(updates)) / (10 + int(updates)))
        torch._foreach_lerp_(list(averages), list(current), 1 - decay)

    def update(self, parameters: Iterable[nn.Parameter]) -> None:
        """Take one more step's parameters into the average; the first call copies them."""
        with torch.no_grad():
            self.update_parameters(nn.ParameterList(parameters))

    def swap(self, parameters: Iterable[nn.Parameter]) -> None:
        """Exchange average and current values in place; a second call undoes it."""
        with torch.no_grad():
            for average, parameter in zip(self.module.parameters(), parameters, strict=True):
                kept = parameter.detach().clone()
                parameter.copy_(average)
                average.copy_(kept)

    @contextmanager
    def applied(self, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
        """Give the parameters their average values for the length of a with block."""
        parameters = list(parameters)
        self.swap(parameters)
        try:
            yield
        finally:
            self.swap(parameters)
