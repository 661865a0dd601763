"""Training that begins with what earlier weights know, as far as shapes allow."""

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_file
from torch import Tensor, nn

from keyface.progress import say
from keyface.untrusted import read_json

_WORDS = "token_embedding.weight"


class InitialWeights(Callback):
    """Copies earlier weights into a module before its training begins; a run that is resumed has its own.

    Of each network those tensors are taken whose name and shape are the same; the others begin afresh, and
    the numbers are told. Embeddings of words go to the same words where the vocabulary has grown, and a new
    word begins as the mean of all.

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
            network = pl_module.get_submodule(name)
            tokenizer = getattr(network, "tokenizer", getattr(pl_module, "tokenizer", None))
            taken, of = copy_matching(network, folder, None if tokenizer is None else tokenizer.get_vocab())
            say(f"{name}: begins with {taken} of {of} tensors of {folder}")


def copy_matching(
    network: nn.Module, folder: Path, words: Mapping[str, int] | None = None
) -> tuple[int, int]:
    """Copy a folder's safetensors into a network where name and shape are the same.

    Args:
        network: Where to.
        folder: Where from; its tokenizer lies in it or in `tokenizer` beside it.
        words: The network's vocabulary, word → row of its embeddings. Embeddings of another vocabulary are
            then copied word by word.

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
    if words is not None:
        for name in own:
            if name.endswith(_WORDS) and name in found and found[name].shape != own[name].shape:
                found[name] = _by_word(found[name], _vocabulary(folder), words)
    same = {name: found[name] for name in own if name in found and found[name].shape == own[name].shape}
    network.load_state_dict(same, strict=False)
    return len(same), len(own)


def _vocabulary(folder: Path) -> Mapping[str, int]:
    """Return the words of a network's tokenizer and their ids."""
    places = (folder / "tokenizer.json", folder.parent / "tokenizer" / "tokenizer.json")
    file = next((place for place in places if place.is_file()), places[0])
    known: Mapping[str, int] = read_json(file)["model"]["vocab"]
    return known


def _by_word(rows: Tensor, known: Mapping[str, int], words: Mapping[str, int]) -> Tensor:
    """Return embeddings for `words`: those of the same words, and the mean of all for new ones."""
    found = rows.mean(dim=0, keepdim=True).repeat(len(words), 1)
    for word, row in words.items():
        if word in known:
            found[row] = rows[known[word]]
    return found
