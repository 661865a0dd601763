"""An exponential moving average of the trained parameters only."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from keyface.averaging import average_in
from keyface.lightning_modules.tuning.base import TunedModule


class ExponentialMovingAverage(nn.Module):
    """The average of a list of parameters, with a decay that grows (`keyface.averaging`).

    Frozen networks are not copied, so that with LoRA the average costs next to nothing. As a submodule it is
    saved in checkpoints and moves between devices by itself. PyTorch's `AveragedModel`, whose names in
    checkpoints these are, asks the device at each update how many there were, and waits for it.

    Attributes:
        module: The averages.
        n_averaged: How many updates they had, for checkpoints; the update itself counts on the CPU.

    Args:
        parameters: What is trained, always in the same order.
        decay: Final decay, in [0, 1).
    """

    n_averaged: Tensor

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"ema_decay is {decay}; it must be in [0, 1), or null for no average")
        super().__init__()
        self.module = copy.deepcopy(nn.ParameterList(parameters))
        self.register_buffer("n_averaged", torch.tensor(0))
        self.decay = decay
        self._updates: int | None = 0
        self.requires_grad_(False)

    def update(self, parameters: Iterable[nn.Parameter]) -> None:
        """Take one more step's parameters into the average; the first call copies them."""
        if self._updates is None:
            self._updates = int(self.n_averaged)
        averages = list(self.module.parameters())
        with torch.no_grad():
            if self._updates == 0:
                for average, parameter in zip(averages, parameters, strict=True):
                    average.copy_(parameter)
            else:
                average_in(averages, list(parameters), self._updates, self.decay)
        self._updates += 1
        self.n_averaged += 1

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Count from what was loaded."""
        super()._load_from_state_dict(*args, **kwargs)
        self._updates = None

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
