"""Image-text encoders by name."""

import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from keyface.models.encoders import OpenClipEncoder, find_encoder
from keyface.weights import MissingWeightsError, catalogue


def test_open_clip_embeds_as_its_own_preprocessing_does(tiny_clip: str) -> None:
    encoder = find_encoder(tiny_clip)
    assert isinstance(encoder, OpenClipEncoder)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    normalized = ((images + 1) / 2 - encoder.mean) / encoder.std
    expected = encoder.model.encode_image(normalized)
    ours = encoder.encode_image(images)
    torch.testing.assert_close(ours, expected / expected.norm(dim=-1, keepdim=True))
    texts = encoder.encode_text(["a man", "a woman"])
    assert texts.shape == (2, 8)
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(2))
    assert not torch.allclose(texts[0], texts[1], atol=1e-3)


def test_open_clip_passes_gradients_to_images_of_any_size_and_keeps_none(tiny_clip: str) -> None:
    encoder = find_encoder(tiny_clip)
    images = torch.zeros(1, 3, 48, 40, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder.encode_image(images)[0, 0], images)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    assert isinstance(encoder, nn.Module)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-Z:file", "no model 'ViT-Z'"),
        ("ViT-B-16", "ViT-B-16:path/to/weights"),
        ("nonsense", "no model 'nonsense'"),
    ],
)
def test_encoders_that_cannot_be_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_encoder(name)


def test_an_encoder_is_taken_as_it_is() -> None:
    network: Any = nn.Identity()
    assert find_encoder(network) == network


def test_weights_of_the_catalogue_are_found_by_name(
    tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="keyface weights get clip-vit-b-16`"):
        find_encoder("clip-vit-b-16")
    folder = tmp_path / "clip-vit-b-16"
    folder.mkdir()
    shutil.copy(tiny_clip.partition(":")[2], folder / catalogue()["clip-vit-b-16"].files[0].path)
    asked: list[tuple[str, str]] = []
    # The real ViT-B-16 is too large for a test: its name stands for the tiny one.
    original = open_clip.create_model
    monkeypatch.setattr(
        open_clip,
        "create_model",
        lambda model, pretrained: (asked.append((model, pretrained)), original("keyface-tiny", pretrained))[
            1
        ],
    )
    find_encoder("clip-vit-b-16")
    assert asked == [("ViT-B-16-quickgelu", str(tmp_path / "clip-vit-b-16/open_clip_model.safetensors"))]
