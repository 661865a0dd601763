import math
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from keyface.diffusion.backbone import Backbone
from keyface.faces.alignment import TEMPLATE
from keyface.lightning_modules.clip_crops import CroppedEncoder
from keyface.models.networks import (
    Evaluators,
    find_backbone,
    find_encoder,
    find_evaluators,
    find_identity_network,
    only_modules,
)
from keyface.models.open_clip import OpenClipEncoder
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


def test_networks_are_taken_as_they_are() -> None:
    network: Any = nn.Identity()
    evaluators = Evaluators()
    for find in (find_identity_network, find_encoder):
        assert find(network) == network
    assert find_evaluators(evaluators) is evaluators
    assert find_evaluators(None) == Evaluators()
    assert only_modules([network, None, math.sqrt]) == [network]


def test_unknown_evaluators_are_refused() -> None:
    with pytest.raises(LookupError, match="recognizer 'imagenet' is unknown"):
        find_evaluators("imagenet")


def put(store: Path, name: str, source: str) -> None:
    """Put a file where `keyface weights get` would."""
    folder = store / name
    folder.mkdir(parents=True)
    shutil.copy(source, folder / catalogue()[name].files[0].path)


def test_weights_of_the_catalogue_are_found_by_name(
    tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="keyface weights get clip-vit-b-16`"):
        find_encoder("clip-vit-b-16")
    put(tmp_path, "clip-vit-b-16", tiny_clip.partition(":")[2])
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


def test_recognizers_are_found_by_name_and_by_path(
    recognizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="keyface weights get arcface`"):
        find_identity_network("arcface")
    with pytest.raises(MissingWeightsError, match="keyface weights get cosface facenet`"):
        find_evaluators("cosface, facenet")
    put(tmp_path, "arcface", str(recognizer_file))
    put(tmp_path, "cosface", str(recognizer_file))
    frames = torch.rand(2, 3, 120, 120) * 2 - 1
    landmarks = torch.tensor(TEMPLATE).expand(2, 5, 2)
    by_name = find_identity_network("arcface")(frames, landmarks)
    by_path = find_identity_network(f"arcface:{recognizer_file}")(frames, landmarks)
    torch.testing.assert_close(by_name, by_path)
    torch.testing.assert_close(by_name.norm(dim=-1), torch.ones(2))
    evaluators = find_evaluators("cosface")
    assert list(evaluators.recognizers) == ["cosface"]
    assert len(evaluators.modules()) == 1


def test_a_backbone_of_the_catalogue_is_found_by_name(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    folder = tmp_path / "stable-diffusion-2-1-base"
    with pytest.raises(MissingWeightsError, match="and 10 more"):
        find_backbone("stable-diffusion-2-1-base")
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(backbone, part).save_pretrained(folder / part)
    for name in (
        "merges.txt",
        "special_tokens_map.json",
        "vocab.json",
    ):  # the tiny tokenizer has none of them
        (folder / "tokenizer" / name).touch()
        (folder / "tokenizer" / name).write_text("{}" if name.endswith("json") else "")
    found = find_backbone("stable-diffusion-2-1-base")
    assert found.unet.config.block_out_channels == [8, 16]
    assert found.scheduler.config.prediction_type == "v_prediction"


def test_crops_are_shared_until_they_are_drawn_again(encoder: Any) -> None:
    cropped = CroppedEncoder(encoder, crops=3, least=0.5)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first = cropped.encode_image(images)
    torch.testing.assert_close(cropped.encode_image(images), first)
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(2))
    cropped.draw(torch.Generator().manual_seed(1))
    second = cropped.encode_image(images)
    assert not torch.allclose(first, second, atol=1e-4)
    cropped.draw(torch.Generator().manual_seed(1))
    torch.testing.assert_close(cropped.encode_image(images), second)
    expected = encoder.encode_image(images)
    for across, down, size in cropped.windows.tolist():
        side = round((0.5 + 0.5 * size) * 32)
        left, top = round(across * (32 - side)), round(down * (32 - side))
        expected = expected + encoder.encode_image(images[..., top : top + side, left : left + side])
    torch.testing.assert_close(second, torch.nn.functional.normalize(expected, dim=-1))
    torch.testing.assert_close(cropped.encode_text(["a man"]), encoder.encode_text(["a man"]))
    for crops, least in ((0, 0.8), (1, 0.0), (1, 1.5)):
        with pytest.raises(ValueError, match="crops must be at least 1"):
            CroppedEncoder(encoder, crops, least)
