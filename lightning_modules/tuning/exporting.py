"""The tuned U-Net as a folder of its own: safetensors and a model card."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diffusers import UNet2DConditionModel
from omegaconf import OmegaConf

from keyface.files import write_text
from keyface.lightning_modules.tuning.averaging import AveragedModule
from keyface.lightning_modules.tuning.hyperparameters import arguments_of, plain
from keyface.lightning_modules.tuning.sharding import is_sharded
from keyface.models.cards import write_card
from keyface.pipeline.defaults import DEFAULTS

MEASURED = ("train/", "val/", "edit/")
"""How the measures of a card begin; speed and memory are the machine's."""


class ExportedModule(AveragedModule):
    """Exports the averaged U-Net to the run's folder when training ends.

    Attributes:
        edits_with: Values of `keyface.editing.settings.EditSettings` with which it edits best, where they are
            not the backbone's; they are written beside it.
    """

    edits_with: Mapping[str, Any] = MappingProxyType({})

    def on_fit_end(self) -> None:
        """Export to the run's folder `export`, if `tuning` says so."""
        folder = self.trainer.log_dir  # asked on every process, since they agree on it together
        if self.tuning.export and (self.trainer.is_global_zero or is_sharded(self.unet)):
            self.export(Path(folder or self.trainer.default_root_dir) / "export")

    def export(self, folder: Path | str) -> Path:
        """Write the averaged U-Net, whole or its adapter, as safetensors with a model card.

        `keyface.diffusion.backbone.load_unet` reads it again. Of a sharded network every process must ask.
        """
        folder = Path(folder)
        with self.averaged():
            state = self.tuned.state(self.tuning.export_half, keep=self.global_rank == 0)
        if self.global_rank > 0:
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        self.tuned.save(folder, state)
        write_card(folder, self._facts())
        if self.edits_with:
            write_text(folder / DEFAULTS, OmegaConf.to_yaml(dict(self.edits_with)))
        return folder

    def whole_unet(self) -> UNet2DConditionModel | None:
        """Return the U-Net as one process can run it: itself, or if it is sharded a whole copy on the CPU.

        Of a sharded network every process must ask, and all but the first get None.
        """
        if not is_sharded(self.unet):
            return self.unet
        return self.tuned.whole(self.backbone.unet, self.tuning, keep=self.global_rank == 0)

    def _facts(self) -> dict[str, Any]:
        trainer = self._trainer
        data = None if trainer is None else getattr(trainer, "datamodule", None)
        logged = {} if trainer is None else trainer.callback_metrics
        metrics = {k: float(v) for k, v in logged.items() if k.startswith(MEASURED)}
        return {
            "title": self.title,
            "configuration": dict(self.hparams),
            "data": {} if data is None else {"class": type(data).__name__, **plain(arguments_of(data))},
            "samples_seen": self.samples_seen,
            "steps": 0 if trainer is None else self.global_step,
            "trained_parameters": sum(parameter.numel() for parameter in self.trained_parameters()),
            "metrics": {name: round(value, 6) for name, value in metrics.items()},
        }
