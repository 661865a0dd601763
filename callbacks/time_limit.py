"""A run of a fixed length of time, whose learning rate reaches its end when the time is over."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from torch.optim import Optimizer

from keyface.files import write_text

FILE = "time.json"
"""Where a run says how many seconds it trained, in all."""


@runtime_checkable
class TimedSchedule(Protocol):
    """A learning-rate schedule that can go by time."""

    fraction: float | None


class TimeLimit(Timer):
    """Ends a training when its time is over, and tells the schedules how much of it is.

    Time counts from the first batch on, with validations. A run that is resumed goes on with the time of its
    checkpoint: what a killed process spent after it does not count. At least one step is taken. The rate of a
    step is that of the moment at which it begins. Use it with `max_steps: -1` and `max_epochs: -1`. How long
    the training took is left in the run's folder as time.json.

    Args:
        seconds: Length of the training, above 0.

    Example:
        In a run's YAML::

            trainer:
              max_steps: -1
              max_epochs: -1
              callbacks:
                - class_path: keyface.callbacks.time_limit.TimeLimit
                  init_args: {seconds: 600}
    """

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"TimeLimit: seconds is {seconds}, it must be above 0")
        super().__init__(timedelta(seconds=seconds), verbose=False)
        self.seconds = seconds
        self._step_began = time.monotonic()

    def fraction(self) -> float:
        """Return the part of the time that is over, in [0, 1]."""
        return min(1.0, self.time_elapsed() / self.seconds)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember when the step began."""
        self._step_began = time.monotonic()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Tell the schedules the time: the next rate is computed right after this step."""
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, TimedSchedule):
                config.scheduler.fraction = self.fraction()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop where the end is nearer now than it will be after another step as long as this one."""
        step = time.monotonic() - self._step_began
        stop = self.time_elapsed() + step / 2 >= self.seconds
        trainer.should_stop = trainer.should_stop or trainer.strategy.broadcast(stop)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave how long the training took, in all, in the run's folder."""
        super().on_train_end(trainer, pl_module)
        if trainer.is_global_zero:
            write_text(Path(trainer.default_root_dir) / FILE, json.dumps({"seconds": self.time_elapsed()}))
