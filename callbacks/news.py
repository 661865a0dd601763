"""What a run tells those who follow it in W&B: its data, that it diverged, failed or ended, its export."""

import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer

from keyface.callbacks.dashboard import alert, log_folder, log_used_file
from keyface.models.cards import read_card


@runtime_checkable
class IndexedData(Protocol):
    """Data that have an index of all their samples."""

    @property
    def dataset_name(self) -> str:
        """A short name for people."""

    def index_json(self) -> str:
        """Return the index."""


class RunNews(Callback):
    """Alerts W&B of losses that are not finite, of errors and of the end, and gives it data and export.

    The command line adds it to each `fit`; without a W&B logger it does nothing. The shards' index becomes an
    artifact of the type `dataset` that the run uses, and the export with its card one of the type `model`.

    Example:
        >>> RunNews(export=False).export
        False

    Args:
        export: Whether the export becomes an artifact.
    """

    def __init__(self, export: bool = True) -> None:
        self.export = export
        self._diverging = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the index of the shards that the run learns from."""
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, IndexedData):
            name = re.sub(r"[^\w.-]+", "-", f"shards-{data.dataset_name}")
            log_used_file(trainer, name, "dataset", "index.json", data.index_json())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Alert of the first of several losses in a row that are not finite."""
        in_a_row = int(getattr(pl_module, "nonfinite_in_a_row", 0))
        if in_a_row and not self._diverging:
            where = f"at batch {batch_idx} after step {trainer.global_step}"
            alert(trainer, "Loss is not finite", f"{where}; the step was left out", "WARN")
        self._diverging = in_a_row > 0

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Alert of what ended the run."""
        what = str(exception).splitlines()[0] if str(exception) else type(exception).__name__
        alert(trainer, "Training stopped", f"at step {trainer.global_step}: {what}", "ERROR")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Alert of the end, with the newest figures."""
        figures = [
            f"{name} {float(trainer.callback_metrics[name]):.4g}"
            for name in ("train/loss", "val/loss", "edit/edit_success", "edit/identity_distance")
            if name in trainer.callback_metrics
        ]
        alert(trainer, "Training ended", ", ".join([f"{trainer.global_step} steps", *figures]), "INFO")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the export, which the module wrote after all callbacks had settled the weights."""
        run = trainer.log_dir  # asked on every process, since they agree on it together
        folder = Path(run or trainer.default_root_dir) / "export"
        if stage == "fit" and self.export and folder.is_dir():
            log_folder(trainer, "export", "model", folder, read_card(folder))
