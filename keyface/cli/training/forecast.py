"""What a fit or a prediction will take, told before it: memory, disk; and after a few steps, time."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from keyface.callbacks.training_curves import images_in
from keyface.cli.training.memory import (
    SINGLE,
    Memory,
    in_bytes,
    memory_doubt,
    moments,
    opening_line,
    prediction_line,
    trained,
)
from keyface.diffusion.device import memory_of, peak_of
from keyface.files import require_space
from keyface.lightning_modules.protocols import KnowsItsBatches
from keyface.progress import say

STEPS = 20
"""Steps of a fit after which the rest is reckoned, the first one left out: it warms up."""

BATCHES = 5
"""Batches of a prediction, likewise; each takes longer than a step."""

_SHORT = 60.0
"""Seconds of a fit that nobody needs a forecast of."""


def with_forecast(callbacks: Callback | Sequence[Callback] | None, subcommand: str) -> list[Callback]:
    """Return the callbacks and, for `fit` and `predict`, one that tells what it takes."""
    chosen = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
    if subcommand == "fit":
        return [Forecast(), *chosen]
    return [*chosen, PredictionForecast()] if subcommand == "predict" else chosen


class Forecast(Callback):
    """Tells what a fit takes, and refuses a disk that its checkpoints would fill."""

    def __init__(self) -> None:
        self._pace = Pace(STEPS)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell what is known from shapes.

        Raises:
            ValueError: The disk has no room for the checkpoints.
        """
        if not trainer.is_global_zero:
            return
        saved, kept = checkpoint_bytes(trainer, pl_module), checkpoints_kept(trainer)
        # On a CPU, where small networks train, a rehearsal takes longer than some fits, and swap helps out.
        on_cpu = pl_module.device.type == "cpu"
        memory = Memory.held(trainer, pl_module) if on_cpu else Memory.of(trainer, pl_module)
        say(opening_line(pl_module, memory, saved, kept))
        doubt = memory_doubt(
            memory, memory_of(pl_module.device), lambda images: Memory.of(trainer, pl_module, images)
        )
        if doubt is not None:
            say(doubt)
        if kept:
            # One more than is kept: the new one is complete before an old one goes.
            require_space(
                Path(trainer.default_root_dir), saved * (kept + 1), f"{kept} checkpoints and a new one"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell, once, how fast it is and when it ends."""
        if trainer.is_global_zero and self._pace.count(images_in(batch) * trainer.world_size):
            left = trainer.estimated_stepping_batches - trainer.global_step
            line = self._pace.line(left, datetime.now())
            if line is not None:
                say(f"{line}, validations on top" if left != float("inf") else line)


class PredictionForecast(Callback):
    """Tells what a prediction takes: memory before it; time and the memory it took after a few batches."""

    def __init__(self) -> None:
        self._pace = Pace(BATCHES)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell what is known from shapes."""
        data = getattr(trainer, "datamodule", None)
        done = isinstance(data, KnowsItsBatches) and not data.batch_shape()[0]
        if done or not trainer.is_global_zero:
            return
        memory = Memory.of(trainer, pl_module)
        say(prediction_line(pl_module, memory))
        available = memory_of(pl_module.device)
        if memory.total > available:
            needed, there = in_bytes(memory.total), in_bytes(available)
            say(f"memory: about {needed} where there are {there}; take a smaller batch, or bfloat16")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Tell, once, how fast it is, when it ends and what it has taken."""
        if not (trainer.is_global_zero and self._pace.count(images_in(batch) * trainer.world_size)):
            return
        line = self._pace.line(sum(trainer.num_predict_batches) - batch_idx - 1, datetime.now())
        if line is not None:
            say(f"{line}; at most {in_bytes(peak_of(pl_module.device))} of memory so far")


class Pace:
    """Counts batches, to tell how fast they are.

    Args:
        enough: Batches after the first, which warms up, that tell it.
    """

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self._began = self._latest = 0.0
        self._batches = -1
        self._images = 0

    def count(self, images: int) -> bool:
        """Count a batch that has ended; say whether it is the one after which the pace is known."""
        self._latest = time.monotonic()
        self._batches += 1
        if self._batches == 0:
            self._began = self._latest
        else:
            self._images += images
        return self._batches == self.enough

    def line(self, left: float, now: datetime) -> str | None:
        """Return `speed_line` of what was counted."""
        return speed_line(self._batches, self._images, self._latest - self._began, left, now)


def speed_line(steps: int, images: int, seconds: float, left: float, now: datetime) -> str | None:
    """Return how fast it goes and when it ends; None where that is soon.

    Args:
        steps: Batches in that time.
        images: Images in them, of all processes; 0 where they are not known.
        seconds: How long they took.
        left: Batches or steps to come; infinite where there is no end.
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
    return f"{speed}; the rest takes {_duration(rest)}, until {at}"


def checkpoint_bytes(trainer: Trainer, module: LightningModule) -> int:
    """Return about how many bytes a checkpoint has: the module's state and the optimizers'."""
    state = sum(
        value.numel() * value.element_size()
        for value in module.state_dict().values()
        if isinstance(value, torch.Tensor)
    )
    return state + trained(module) * SINGLE * moments(trainer)


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


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
