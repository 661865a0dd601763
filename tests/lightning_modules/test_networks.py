import json
import math
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from keyface.lightning_modules.clip_encoder import OpenClipEncoder
from keyface.lightning_modules.networks import (
    Evaluators,
    find_encoder,
    find_evaluators,
    find_identity_network,
    only_modules,
)

TINY_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny OpenCLIP model's name and a file with random weights: "name:path"."""
    folder: Path = tmp_path_factory.mktemp("clip")
    (folder / "keyface-tiny.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    weights = open_clip.create_model("keyface-tiny", load_weights=False).state_dict()
    save_file(weights, folder / "weights.safetensors")
    return f"keyface-tiny:{folder / 'weights.safetensors'}"


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
    with pytest.raises(ValueError, match="evaluators 'imagenet' are unknown"):
        find_evaluators("imagenet")
