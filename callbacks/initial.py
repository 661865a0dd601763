"""Training that begins with what earlier weights know, as far as shapes allow."""

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_file
from torch import nn

from keyface.progress import say


class InitialWeights(Callback):
    """Copies earlier weights into a module before its training begins; a run that is resumed has its own.

    Of each network those tensors are taken whose name and shape are the same; the others begin afresh, and
    the numbers are told.

    Attributes:
        folders: Where the weights come from, in the order of the config.

    Args:
        weights: Name of a network in the module, such as `unet`, → folder with its safetensors.
    """

    def __init__(self, weights: Mapping[str, str]) -> None:
        self.weights = {name: Path(folder) for name, folder in weights.items()}

    @property
    def folders(self) -> list[Path]:
        """Return where the weights come from."""
        return list(self.weights.values())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the weights.

        Raises:
            FileNotFoundError: A folder has no safetensors.
        """
        if stage != "fit":
            return
        for name, folder in self.weights.items():
            taken, of = copy_matching(pl_module.get_submodule(name), folder)
            say(f"{name}: begins with {taken} of {of} tensors of {folder}")


def copy_matching(network: nn.Module, folder: Path) -> tuple[int, int]:
    """Copy a folder's safetensors into a network where name and shape are the same.

    Returns:
        How many tensors were copied, and how many the network has.

    Raises:
        FileNotFoundError: The folder has no safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no weights at {folder}/*.safetensors to begin with")
    found = {name: value for file in files for name, value in load_file(file).items()}
    own = network.state_dict()
    same = {name: found[name] for name in own if name in found and found[name].shape == own[name].shape}
    network.load_state_dict(same, strict=False)
    return len(same), len(own)
