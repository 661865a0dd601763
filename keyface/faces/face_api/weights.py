"""Networks of face-api and the names of their weights."""

from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor, nn

from keyface.faces.tfjs.weights import read_tensors
from keyface.weights.states import give_state

_RENAMED = {
    "filters": "weight",
    "weights": "weight",
    "biases": "bias",
    "depthwise_filter": "depthwise.weight",
    "pointwise_filter": "pointwise.weight",
}


class FaceApiNetwork(nn.Module):
    """A network whose parts have the names of the published file, `MODEL`."""

    MODEL: ClassVar[str]

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Return whether the network's files are in a folder of face-api's files."""
        return all((folder / f"{cls.MODEL}{end}").is_file() for end in ("-weights_manifest.json", ".bin"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the network from the folder of face-api's files; it is frozen.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged, or belongs to another network.
        """
        tensors = read_tensors(folder, cls.MODEL)
        names = cls.parts_of(list(tensors))
        state = {names[name]: _torch_layout(name, tensors[name]) for name in names}
        network = cls()
        give_state(network, state, folder / f"{cls.MODEL}.bin")
        return network

    @classmethod
    def parts_of(cls, names: list[str]) -> dict[str, str]:
        """Return the network's part for each of a file's tensors; those that it does without are left out."""
        separable = {name.rpartition("/")[0] for name in names if name.endswith("/depthwise_filter")}
        return {name: _torch_name(name, separable) for name in names}


def _torch_name(name: str, separable: set[str]) -> str:
    path, _, last = name.rpartition("/")
    if not path:  # the bare matrix of the identity network
        return f"{last}.weight"
    if last == "bias" and path in separable:
        last = "pointwise.bias"
    return f"{path.replace('/', '.')}.{_RENAMED.get(last, last)}"


def _torch_layout(name: str, value: Tensor) -> Tensor:
    if name.endswith(("/depthwise_filter", "/depthwise_weights")):
        return value.permute(2, 3, 0, 1).contiguous()
    if value.dim() == 4:
        return value.permute(3, 2, 0, 1).contiguous()
    return value.T.contiguous() if value.dim() == 2 else value
