"""VGG-Face as DeepFace publishes it, in Keras' file format."""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from keyface.faces.recognition import CropRecognizer
from keyface.faces.squares import crop_squares, detector_squares

SIZE = 224
MEAN = (129.1863, 104.7624, 93.5940)
"""Mean colour of the training faces, red, green, blue, 0 to 255."""

_STAGES = (2, 2, 3, 3, 3)
_WIDTHS = (64, 128, 256, 512, 512)
_HIDDEN = 4096


class VGGFace(CropRecognizer):
    """VGG-16 behind keyface's `Recognizer` protocol, up to the last layer before the names; frozen.

    Args:
        widths: Channels of the five stages.
        hidden: Numbers a face, and of the layer before.
    """

    name = "VGG-Face"
    mean: Tensor

    def __init__(self, widths: tuple[int, ...] = _WIDTHS, hidden: int = _HIDDEN) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for count, width in zip(_STAGES, widths, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
                inside = width
            layers.append(nn.MaxPool2d(2))
        # The fully connected layers were published as convolutions: 7 by 7, then 1 by 1.
        layers += [nn.Conv2d(inside, hidden, 7), nn.ReLU(), nn.Conv2d(hidden, hidden, 1)]
        self.layers = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str, widths: tuple[int, ...] = _WIDTHS, hidden: int = _HIDDEN) -> Self:
        """Read `vgg_face_weights.h5`; only arrays are read, in the order in which Keras names the layers.

        Raises:
            FileNotFoundError: There is no such file.
            ImportError: The package `h5py` is not installed.
            ValueError: It is no file of Keras' weights, or of another network.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; see `keyface weights list`")
        network = cls(widths, hidden)
        convolutions = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
        arrays = _keras_convolutions(path)
        if len(arrays) not in (len(convolutions), len(convolutions) + 1):  # one more names the people
            raise ValueError(
                f"{path}: has {len(arrays)} convolutions; VGG-Face has {len(convolutions) + 1} with the last"
            )
        for layer, (name, kernel, bias) in zip(convolutions, arrays, strict=False):
            kernel = kernel.permute(3, 2, 0, 1)
            if kernel.shape != layer.weight.shape or layer.bias is None or bias.shape != layer.bias.shape:
                raise ValueError(
                    f"{path}: layer {name} has a kernel of {tuple(kernel.shape)}, VGG-Face one of "
                    f"{tuple(layer.weight.shape)}"
                )
            layer.weight.copy_(kernel)
            layer.bias.copy_(bias)
        return network

    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Cut faces out as the training's detector did, (B, 3, 224, 224)."""
        return crop_squares(images, detector_squares(landmarks), SIZE)

    def embed(self, faces: Tensor) -> Tensor:
        """Embed crops as (B, 4096)."""
        embedding: Tensor = self.layers((faces + 1) * 127.5 - self.mean).flatten(1)
        return embedding


def _keras_convolutions(path: Path) -> list[tuple[str, Tensor, Tensor]]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path}: reading Keras' weights needs `pip install keyface[faces]`") from error
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers = [(_text(name), root[_text(name)]) for name in root.attrs["layer_names"]]
            return [
                (name, *(torch.from_numpy(layer[_text(part)][()]).float() for part in parts))  # type: ignore[misc]
                for name, layer in layers
                if len(parts := layer.attrs["weight_names"]) == 2
            ]
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no file of Keras' weights: {error}") from error


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
