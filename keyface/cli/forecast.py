"""What a fit will take, told before it: weights, memory, disk; and after a few steps, time."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from keyface.callbacks.training_curves import images_in
from keyface.files import require_space
from keyface.progress import say

STEPS = 20
"""Steps after which the rest is reckoned, the first one left out: it warms up."""

_SINGLE = 4
_SHORT = 60.0
"""Seconds of a fit that nobody needs a forecast of."""


def with_forecast(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """Return the callbacks and one that tells what a fit takes."""
    chosen = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
    return [Forecast(), *chosen]


class Forecast(Callback):
    """Tells what a fit takes, and refuses a disk that its checkpoints would fill."""

    def __init__(self) -> None:
        self._began = 0.0
        self._steps = 0
        self._images = 0
        self._told = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell what is known from shapes.

        Raises:
            ValueError: The disk has no room for the checkpoints.
        """
        if not trainer.is_global_zero:
            return
        saved, kept = checkpoint_bytes(trainer, pl_module), checkpoints_kept(trainer)
        say(opening_line(trainer, pl_module, saved, kept))
        if kept:
            # One more than is kept: the new one is complete before an old one goes.
            require_space(
                Path(trainer.default_root_dir), saved * (kept + 1), f"{kept} checkpoints and a new one"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell, once, how fast it is and when it ends."""
        if self._told or not trainer.is_global_zero:
            return
        now = time.monotonic()
        if self._steps == 0:
            self._began = now
        else:
            self._images += images_in(batch) * trainer.world_size
        self._steps += 1
        if self._steps > STEPS:
            self._told = True
            left = trainer.estimated_stepping_batches - trainer.global_step
            line = speed_line(self._steps - 1, self._images, now - self._began, left, datetime.now())
            if line is not None:
                say(line)


def opening_line(trainer: Trainer, module: LightningModule, saved: int, kept: int | None) -> str:
    """Return parameters, memory and disk in one line.

    Args:
        trainer: Of the fit.
        module: On its device, with its optimizers made.
        saved: Bytes of a checkpoint.
        kept: How many are kept; None where nobody can say.
    """
    total = sum(parameter.numel() for parameter in module.parameters())
    trained = _trained(module)
    held = sum(value.numel() * value.element_size() for value in (*module.parameters(), *module.buffers()))
    learning = trained * _SINGLE * (1 + _moments(trainer))  # gradients, and what the optimizer keeps
    disk = f"a checkpoint is {_bytes(saved)}"
    if kept:
        disk += f", {kept} are kept"
    return (
        f"trains {_count(trained)} of {_count(total)} parameters; memory from {_bytes(held + learning)} on, "
        f"activations on top; {disk}"
    )


def speed_line(steps: int, images: int, seconds: float, left: float, now: datetime) -> str | None:
    """Return how fast a fit is and when it ends; None where that is soon.

    Args:
        steps: Batches in that time.
        images: Images in them, of all processes; 0 where they are not known.
        seconds: How long they took.
        left: Optimizer's steps to come; infinite where there is no end.
        now: The time.
    """
    step = seconds / steps
    speed = f"{images / seconds:.3g} images a second" if images else f"{1 / step:.3g} batches a second"
    if left == float("inf"):
        return speed
    rest = step * left
    if rest < _SHORT:
        return None
    end = now + timedelta(seconds=rest)
    at = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%Y-%m-%d %H:%M}"
    return f"{speed}; the rest takes {_duration(rest)}, until {at}, validations on top"


def checkpoint_bytes(trainer: Trainer, module: LightningModule) -> int:
    """Return about how many bytes a checkpoint has: the module's state and the optimizers'."""
    state = sum(
        value.numel() * value.element_size()
        for value in module.state_dict().values()
        if isinstance(value, torch.Tensor)
    )
    return state + _trained(module) * _SINGLE * _moments(trainer)


def checkpoints_kept(trainer: Trainer) -> int | None:
    """Return how many checkpoints a run keeps at most; None where a callback keeps them all."""
    kept = 0
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, ModelCheckpoint):
            continue
        if callback.save_top_k < 0:
            return None
        kept += callback.save_top_k + bool(callback.save_last and callback.save_last != "link")
    return kept


def _trained(module: LightningModule) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _moments(trainer: Trainer) -> int:
    """Return how many values an optimizer keeps for each parameter: Adam and its kin keep two."""
    return max((2 if "betas" in optimizer.defaults else 1 for optimizer in trainer.optimizers), default=0)


def _count(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e5 else f"{number:,}"


def _bytes(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
