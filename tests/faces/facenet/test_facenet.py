"""FaceNet on files of the published format with random weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from keyface.faces.alignment import TEMPLATE
from keyface.faces.facenet.inception_resnet import InceptionResnetV1
from keyface.faces.facenet.recognizer import FaceNet

LANDMARKS = torch.tensor(TEMPLATE)[None] + 20
IMAGES = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(1)) * 2 - 1


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


def test_facenet_keeps_its_precision_under_autocast() -> None:
    torch.manual_seed(0)
    recognizer = FaceNet(InceptionResnetV1())
    expected = recognizer(IMAGES, LANDMARKS)
    with torch.autocast("cpu", torch.bfloat16):
        found = recognizer(IMAGES, LANDMARKS)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
