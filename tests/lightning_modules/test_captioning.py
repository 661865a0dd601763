"""What `lightning predict` asks a captioner, and what it says about it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from keyface.lightning_modules import captioning
from keyface.lightning_modules.captioning import CaptioningModule


class Counting(nn.Module):
    """Describes images by their sums."""

    def forward(self, images: Tensor) -> list[str]:
        return [f"{image.sum():.0f}" for image in images]


def test_a_batch_gets_the_captions_of_its_images_by_key() -> None:
    module = CaptioningModule(Counting())
    images = torch.stack([torch.full((3, 2, 2), value) for value in (1.0, 2.0)])
    assert module.predict_step({"key": ["a", "b"], "image": images}, 0) == {
        "key": ["a", "b"],
        "caption": ["12", "24"],
    }
    assert module.settings()["captioner"] == "given"
    assert module.member_bytes(512) == 4096


def test_what_decides_captions_is_handed_on_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def find(*words: Any, **how: Any) -> nn.Module:
        asked.append((*words, how))
        return Counting()

    monkeypatch.setattr(captioning, "find_captioner", find)
    usual = {"prompt": "a photo of", "max_new_tokens": 40, "beams": 5}
    own: dict[str, Any] = {"prompt": "a face", "max_new_tokens": 7, "beams": 2}
    assert CaptioningModule().settings() == {"captioner": "blip2", **usual}
    assert CaptioningModule("blip2:x", **own, dtype="float16").settings() == {"captioner": "blip2:x", **own}
    assert CaptioningModule("miniature").settings() == {"captioner": "miniature"}
    expected = [("blip2", "float32", usual), ("blip2:x", "float16", own), ("miniature", "float32", usual)]
    assert asked == expected
