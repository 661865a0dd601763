"""Faster training on a GPU: compiled networks and weights with channels last."""

from collections.abc import Sequence

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Accelerate(Callback):
    """Prepares a module's networks for the device when training begins; names of weights stay as they are.

    Validations are not compiled: they are short, and their graphs would be others.

    Args:
        channels_last: Lay the weights of convolutions out with channels last.
        compiled: Names of the submodules to compile, such as `unet` or `network.stem`; each is compiled at
            its first call, and again for other shapes.

    Example:
        `{class_path: keyface.callbacks.acceleration.Accelerate, init_args: {compiled: [unet]}}`
    """

    def __init__(self, channels_last: bool = False, compiled: Sequence[str] = ()) -> None:
        self.channels_last, self.compiled = channels_last, tuple(compiled)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse, before anything is loaded, names that the module has not."""
        for name in self.compiled:
            try:
                pl_module.get_submodule(name)
            except AttributeError as error:
                raise ValueError(f"Accelerate: {type(pl_module).__name__} has no {name!r}") from error

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lay out and compile, on the device."""
        if self.channels_last:
            for parameter in pl_module.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        for name in self.compiled:
            pl_module.get_submodule(name).compile()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run what was compiled as it was written."""
        if self.compiled:
            torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run what was compiled again."""
        if self.compiled:
            torch.compiler.set_stance("default")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no trace on what runs after this training."""
        self.on_validation_end(trainer, pl_module)
