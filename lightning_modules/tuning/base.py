"""What the parts of a branch, which are mix-ins of their own, ask of each other."""

from diffusers import UNet2DConditionModel
from lightning.pytorch import LightningModule
from torch import nn

from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.tuning.lora import TunedUNet, Tuning


class TunedModule(LightningModule):
    """A module that trains a copy of a base U-Net.

    Attributes:
        title: Its name in messages, checkpoints and cards.
        tuning: What is trained and how.
        backbone: The frozen base.
        tuned: The copy in training, with its adapters.
        unet: The same, as a network.
        samples_seen: Images that it was trained on, by all processes.
    """

    title: str
    tuning: Tuning
    backbone: Backbone
    tuned: TunedUNet
    unet: UNet2DConditionModel
    samples_seen: int

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are trained, in a fixed order."""
        return [parameter for parameter in self.unet.parameters() if parameter.requires_grad]

    def on_all_processes(self, decision: bool) -> bool:
        """Return whether every process decides so; each must ask, or the others wait forever."""
        return bool(self.trainer.strategy.reduce_boolean_decision(decision, all=True))
