"""An exponential moving average of the trained parameters only."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from keyface.lightning_modules.tuning.base import TunedModule


class ExponentialMovingAverage(AveragedModel):
    """PyTorch's `AveragedModel` over a list of parameters instead of a whole model.

    Frozen networks are not copied, so that with LoRA the average costs next to nothing. The decay grows
    with the number of updates, `min(decay, (1 + n) / (10 + n))`: a short run is not held back by its start.
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


class AveragedModule(TunedModule):
    """Averages what a module trains, and validates with the average.

    Lightning's `WeightAveraging` does not serve here: it copies the whole module with all of its frozen
    networks, and knows no weights that processes share.

    Attributes:
        ema: The average, in checkpoints as `ema.…`; None: there is none.
    """

    ema: ExponentialMovingAverage | None

    def begin_average(self) -> None:
        """Make the average of the parameters as they are, if `tuning` asks for one."""
        decay = self.tuning.ema_decay
        self.ema = None if decay is None else ExponentialMovingAverage(self.trained_parameters(), decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the U-Net its averaged weights for a with block, if there are any."""
        if self.ema is None:
            yield
        else:
            with self.ema.applied(self.trained_parameters()):
                yield

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step into the moving average, before any callback writes a checkpoint of it."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.trained_parameters())

    def on_validation_epoch_start(self) -> None:
        """Validate, and let callbacks edit, with the averaged weights."""
        if self.ema is not None:
            self.ema.swap(self.trained_parameters())

    def on_validation_epoch_end(self) -> None:
        """Go back to the weights in training."""
        if self.ema is not None:
            self.ema.swap(self.trained_parameters())
