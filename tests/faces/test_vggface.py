"""VGG-Face on files of the published format with random weights."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from keyface.faces.alignment import TEMPLATE
from keyface.faces.squares import crop_squares, detector_squares
from keyface.faces.vggface import MEAN, VGGFace

LANDMARKS = torch.tensor(TEMPLATE)[None] + 20
IMAGES = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(1)) * 2 - 1
WIDTHS = (4, 4, 4, 4, 6)


def write_keras(path: Path, network: VGGFace, people: int = 5) -> None:
    """Keras' HDF5 layout: groups of layers, arrays of (height, width, in, out), names in attributes."""
    convolutions = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    last = nn.Conv2d(convolutions[-1].out_channels, people, 1)
    with h5py.File(path, "w") as file:
        names = []
        for index, layer in enumerate([*convolutions, last], start=1):
            pad, name = f"zero_padding2d_{index}", f"conv2d_{index}"
            file.create_group(pad).attrs["weight_names"] = []
            group = file.create_group(name)
            kernel = layer.weight.detach().permute(2, 3, 1, 0).numpy()
            group.create_dataset(f"{name}/kernel:0", data=kernel)
            assert layer.bias is not None
            group.create_dataset(f"{name}/bias:0", data=layer.bias.detach().numpy())
            group.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            names += [pad.encode(), name.encode()]
        file.attrs["layer_names"] = names


def test_vggface_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = VGGFace(WIDTHS, hidden=16)
    write_keras(tmp_path / "vgg.h5", original)
    recognizer = VGGFace.from_file(tmp_path / "vgg.h5", WIDTHS, hidden=16)
    embedding = recognizer(IMAGES, LANDMARKS)
    assert embedding.shape == (1, 16)
    faces = (crop_squares(IMAGES, detector_squares(LANDMARKS), 224) + 1) * 127.5
    expected = original.layers(faces - torch.tensor(MEAN).view(1, 3, 1, 1)).flatten(1)
    torch.testing.assert_close(embedding, expected / expected.norm(dim=-1, keepdim=True))
    with pytest.raises(ValueError, match="VGG-Face needs five landmarks"):
        recognizer(IMAGES, None)


def test_vggface_has_the_published_shapes() -> None:
    with torch.device("meta"):
        network = VGGFace()
    shapes = [tuple(layer.weight.shape) for layer in network.layers if isinstance(layer, nn.Conv2d)]
    assert shapes[-2:] == [(4096, 512, 7, 7), (4096, 4096, 1, 1)]
    assert len(shapes) == 15
    assert sum(parameter.numel() for parameter in network.parameters()) == 134_260_544


def test_other_keras_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="no file of Keras' weights"):
        VGGFace.from_file(tmp_path / "text.h5")
    with h5py.File(tmp_path / "array.h5", "w") as file:
        file["array"] = np.zeros(3)
    with pytest.raises(ValueError, match="no file of Keras' weights"):
        VGGFace.from_file(tmp_path / "array.h5")
    write_keras(tmp_path / "wide.h5", VGGFace((4, 4, 4, 4, 8), hidden=16))
    with pytest.raises(ValueError, match="layer conv2d_11 has a kernel"):
        VGGFace.from_file(tmp_path / "wide.h5", WIDTHS, hidden=16)
    with pytest.raises(FileNotFoundError, match="no such file"):
        VGGFace.from_file(tmp_path / "missing.h5")
