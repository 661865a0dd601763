"""Writes a trained network into a folder when training ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class ExportNetwork(Callback):
    """Calls the module's ``export(folder)`` when ``fit`` ends and writes ``card.json`` beside the weights.

    Where the module went on from exported weights (its ``initial``), the card lists the earlier stages.

    The new weights replace the old only when they are complete.

    Args:
        folder: Where the network goes.

    Example:
        In a run's YAML::

            trainer:
              callbacks:
                - class_path: keyface.callbacks.export.ExportNetwork
                  init_args: {folder: runs/miniature/clip/export}
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._earlier: list[dict[str, Any]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Reads the cards of the weights that the run goes on from, which this export may replace."""
        initial = pl_module.hparams.get("initial") or []
        folders = [initial] if isinstance(initial, str) else initial
        cards = [Path(folder) / "card.json" for folder in folders]
        earlier = [
            stage for card in cards if card.exists() for stage in _history(json.loads(card.read_text()))
        ]
        # Weights whose mean the run goes on from may have stages in common.
        self._earlier = [stage for place, stage in enumerate(earlier) if stage not in earlier[:place]]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exports after every other callback has settled the weights (EMA copies its average back)."""
        if not trainer.is_global_zero:
            return
        partial = self.folder.with_name(self.folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        pl_module.export(partial)  # type: ignore[operator]
        (partial / "card.json").write_text(json.dumps(self._card(trainer, pl_module), indent=2) + "\n")
        shutil.rmtree(self.folder, ignore_errors=True)
        partial.rename(self.folder)

    def _card(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        datamodule = getattr(trainer, "datamodule", None)
        return {
            "module": f"{type(pl_module).__module__}.{type(pl_module).__qualname__}",
            "config": _plain(dict(pl_module.hparams)),
            "data": _plain(dict(datamodule.hparams)) if datamodule is not None else {},
            "steps": trainer.global_step,
            "samples_seen": int(getattr(pl_module, "samples_seen", torch.tensor(0))),
            "earlier": self._earlier,
            "metrics": {
                name: round(float(value), 5)
                for name, value in sorted(trainer.callback_metrics.items())
                if name.startswith("val/")
            },
            "torch": torch.__version__.split("+")[0],
        }


def _history(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the stages of training up to and including the card's, first to last."""
    return [*card.get("earlier", []), {name: card.get(name) for name in ("config", "steps", "samples_seen")}]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Keeps what JSON can hold; classes and callables are in the run's config file."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, str | int | float | bool | list | tuple | None) and name != "cache"
    }
