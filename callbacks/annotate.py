"""Predictions of `lightning predict`, written into the shards of the samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer


class Annotating(Protocol):
    """What the callback asks of the module."""

    def settings(self) -> dict[str, Any]:
        """Return what decides the result, in plain values."""
        ...

    def member_bytes(self, side: int) -> int:
        """Return the most bytes of one sample's result, for an image of this side."""
        ...


@runtime_checkable
class Annotated(Protocol):
    """What the callback asks of the datamodule."""

    def begin(self, settings: dict[str, Any], first: bool, member_bytes: Callable[[int], int]) -> None:
        """Prepare before the first batch, on every process; `first` on one of them."""
        ...

    def keep(self, prediction: dict[str, Any]) -> None:
        """Keep the results of a batch."""
        ...

    def finish(self) -> None:
        """Put the results into the shards, on one process when all are through."""
        ...

    def release(self) -> None:
        """Let other processes work on the shards again."""
        ...


class AnnotateShards(Callback):
    """Hands predictions to the datamodule, which keeps them on the disk and at the end puts them into shards.

    Example:
        In a config for `lightning predict`::

            trainer:
              callbacks: [{class_path: keyface.callbacks.annotate.AnnotateShards}]
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare what was done before with what is to be done, before any batch is read."""
        if not isinstance(_data(trainer), Annotated):
            raise ValueError("AnnotateShards needs data that takes annotations: AnnotationDataModule")
        module = cast(Annotating, pl_module)
        _data(trainer).begin(module.settings(), trainer.is_global_zero, module.member_bytes)
        trainer.strategy.barrier()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a batch's predictions, and end after it where SIGTERM asked for that.

        Lightning only notes the signal while it predicts.

        Raises:
            KeyboardInterrupt: The process is to end.
        """
        _data(trainer).keep(outputs)
        if trainer.received_sigterm:
            raise KeyboardInterrupt

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put everything into the shards when every process is through."""
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            _data(trainer).finish()
        _data(trainer).release()
        trainer.strategy.barrier()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let others go on with what is done."""
        if isinstance(data := _data(trainer), Annotated):
            data.release()


def _data(trainer: Trainer) -> Annotated:
    return cast(Annotated, getattr(trainer, "datamodule", None))
