"""Exports of trained networks when training ends."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from keyface.callbacks.initial import InitialWeights
from keyface.models.cards import read_card, write_json


class ExportNetwork(Callback):
    """Writes a module's network and its card into a folder when `fit` ends, by the module's `export(folder)`.

    Where the module began with exported weights (`InitialWeights`), the card lists the earlier stages. The
    new weights replace the old only when they are complete.

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
        """Read the cards of the weights that the run goes on from, which this export may replace."""
        folders: list[Path] = []
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            folders += callback.folders if isinstance(callback, InitialWeights) else []
        # Parts of a model, such as the base's U-Net, lie in folders below its card.
        cards = [read_card(folder) or read_card(folder.parent) for folder in dict.fromkeys(folders)]
        earlier = [stage for card in cards if card for stage in _stages(card)]
        # Weights whose mean the run goes on from may have stages in common.
        self._earlier = [stage for place, stage in enumerate(earlier) if stage not in earlier[:place]]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export after every other callback has settled the weights (EMA copies its average back)."""
        if not trainer.is_global_zero:
            return
        partial = self.folder.with_name(self.folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        pl_module.export(partial)  # type: ignore[operator]
        write_json(partial, self._facts(trainer, pl_module))
        shutil.rmtree(self.folder, ignore_errors=True)
        partial.rename(self.folder)

    def _facts(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        datamodule = getattr(trainer, "datamodule", None)
        return {
            "module": f"{type(pl_module).__module__}.{type(pl_module).__qualname__}",
            "configuration": _plain(dict(pl_module.hparams)),
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
            "device": _name_of(trainer.strategy.root_device),  # the module is on the CPU again by now
        }


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _stages(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the stages of training up to and including the card's, first to last."""
    stage = {name: card.get(name) for name in ("configuration", "steps", "samples_seen")}
    return [*card.get("earlier", []), stage]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Keep what JSON can hold; classes and callables are in the run's config file."""
    return {
        name: _plain(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if isinstance(value, str | int | float | bool | list | tuple | dict | None) and name != "cache"
    }
