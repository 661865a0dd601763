"""Writes what `lightning predict` finds out about samples into their shards."""

from __future__ import annotations

from typing import Any, Protocol, cast

from lightning.pytorch import Callback, LightningModule, Trainer


class Annotating(Protocol):
    """What the callback asks of the module."""

    def settings(self) -> dict[str, Any]:
        """What decides the result, in plain values."""
        ...


class Annotated(Protocol):
    """What the callback asks of the datamodule."""

    def begin(self, settings: dict[str, Any], first: bool) -> None:
        """Before the first batch, on every process; ``first`` on one of them."""
        ...

    def keep(self, prediction: dict[str, Any]) -> None:
        """After each batch."""
        ...

    def finish(self) -> None:
        """When all processes are through, on one of them."""
        ...


class AnnotateShards(Callback):
    """Hands predictions to the datamodule, which keeps them on the disk and at the end puts them into shards.

    Example:
        In a config for ``lightning predict``::

            trainer:
              callbacks: [{class_path: keyface.callbacks.annotate.AnnotateShards}]
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compares what was done before with what is to be done, before any batch is read."""
        if not all(hasattr(_data(trainer), name) for name in ("begin", "keep", "finish")):
            raise ValueError("AnnotateShards needs data that takes annotations: AnnotationDataModule")
        settings = cast(Annotating, pl_module).settings()
        _data(trainer).begin(settings, trainer.is_global_zero)
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
        """Keeps a batch's predictions."""
        _data(trainer).keep(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts everything into the shards when every process is through."""
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            _data(trainer).finish()
        trainer.strategy.barrier()


def _data(trainer: Trainer) -> Annotated:
    return cast(Annotated, getattr(trainer, "datamodule", None))
