"""One progress bar over all steps of a training; into pipes and logs a plain line at each validation."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar

from keyface.progress import Bar

METRICS = 4
"""So many figures stand beside the bar, on one line; metrics.csv has all of them."""


def with_progress(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """Return the callbacks and, unless one of them draws progress, one that does."""
    chosen = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
    if any(isinstance(callback, ProgressBar) for callback in chosen):
        return chosen
    return [*chosen, Progress()]


class Progress(ProgressBar):
    """Draw how many of all steps, or batches of an evaluation, are done, and when the rest will be."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Bar | None = None
        self._enabled = True

    def disable(self) -> None:
        """Draw nothing, on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Draw again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the step that a checkpoint left off."""
        steps = trainer.estimated_stepping_batches
        self._open("fit", "step", int(steps) if steps != float("inf") else None, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the optimizer's steps, of which accumulated batches make one."""
        if self._bar is not None:
            self._bar.advance_to(trainer.global_step, lambda: self._figures(trainer, pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a line with the figures of a validation; close the bar of one that is no part of a fit."""
        if trainer.state.fn != "fit":
            self._close()
        elif self._bar is not None and not trainer.sanity_checking:
            self._bar.log(self._figures(trainer, pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar as it stands."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar before the error is told."""
        self._close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an evaluation of its own; one inside a training goes without a bar."""
        if trainer.state.fn != "fit":
            self._open("validate", "batch", _sum(trainer.num_val_batches))

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Count a batch of an evaluation of its own."""
        if trainer.state.fn != "fit":
            self._count()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a test."""
        self._open("test", "batch", _sum(trainer.num_test_batches))

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Count a batch."""
        self._count()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a prediction."""
        self._open("predict", "batch", _sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Count a batch."""
        self._count()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def _open(self, label: str, unit: str, total: int | None, done: int = 0) -> None:
        self._close()
        if self._enabled:
            self._bar = Bar(label, total, unit, done)

    def _count(self) -> None:
        if self._bar is not None:
            self._bar.advance_to(self._bar.done + 1)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _figures(self, trainer: Trainer, pl_module: LightningModule) -> str:
        """Return a few figures, as "train/loss 0.061, val/loss 0.058"."""
        shown = self.get_metrics(trainer, pl_module)
        numbers = [f"{name} {value:.4g}" for name, value in shown.items() if isinstance(value, int | float)]
        return ", ".join(numbers[:METRICS])


def _sum(batches: Sequence[int | float] | int | float) -> int | None:
    """Return the number of batches of all loaders; None where one has no end."""
    total = sum(batches) if isinstance(batches, Sequence) else batches
    return None if total == float("inf") else int(total)
