"""FaceNet and VGG-Face on files of the published formats with random weights."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from keyface.faces.alignment import TEMPLATE
from keyface.faces.facenet.inception_resnet import InceptionResnetV1
from keyface.faces.facenet.recognizer import FaceNet
from keyface.faces.squares import crop_squares, detector_squares
from keyface.faces.vggface import MEAN, VGGFace

LANDMARKS = torch.tensor(TEMPLATE)[None] + 20
IMAGES = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(1)) * 2 - 1
WIDTHS = (4, 4, 4, 4, 6)


def facenet_state() -> dict[str, torch.Tensor]:
    """As published: the network and the classifier of its training."""
    torch.manual_seed(0)
    state = dict(InceptionResnetV1().state_dict())
    state |= {"logits.weight": torch.zeros(8631, 4), "logits.bias": torch.zeros(8631)}
    return state


def test_facenet_has_the_published_network() -> None:
    names = InceptionResnetV1().state_dict()
    assert sum(
        value.numel() for name, value in names.items() if "running" not in name and "num_" not in name
    ) == (23_482_624)
    for name in (
        "conv2d_1a.conv.weight",
        "repeat_1.4.branch2.2.bn.running_var",
        "mixed_6a.branch1.2.conv.weight",
        "repeat_2.9.conv2d.bias",
        "mixed_7a.branch2.2.bn.weight",
        "block8.branch1.2.conv.weight",
        "last_linear.weight",
        "last_bn.running_mean",
    ):
        assert name in names


@pytest.mark.parametrize("form", ["published .pt", "safetensors"])
def test_facenet_from_a_file(form: str, tmp_path: Path) -> None:
    state = facenet_state()
    path = tmp_path / ("net.pt" if form == "published .pt" else "net.safetensors")
    if path.suffix == ".pt":
        torch.save(state, path, _use_new_zipfile_serialization=False)  # the published file is older than zips
    else:
        save_file(state, path)
    recognizer = FaceNet.from_file(path)
    images = IMAGES.clone().requires_grad_(True)
    embedding = recognizer(images, LANDMARKS)
    assert embedding.shape == (1, 512)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(1))
    (gradient,) = torch.autograd.grad(embedding[0, 0], images)
    assert gradient.abs().sum() > 0
    with pytest.raises(ValueError, match="FaceNet needs five landmarks"):
        recognizer(images, None)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("canary"),))  # type: ignore[return-value]


def test_facenet_runs_nothing_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv2d_1a.conv.weight": Hostile()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="no weights that can be read safely"):
        FaceNet.from_file(tmp_path / "evil.pt")
    assert not (tmp_path / "canary").exists()
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="not a state of tensors"):
        FaceNet.from_file(tmp_path / "list.pt")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not the weights of a InceptionResnetV1"):
        FaceNet.from_file(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="keyface weights list"):
        FaceNet.from_file(tmp_path / "missing.pt")


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
