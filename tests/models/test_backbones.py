"""Backbones by name."""

from pathlib import Path

import pytest

from keyface.diffusion.backbone import Backbone
from keyface.models.backbones import find_backbone
from keyface.weights import MissingWeightsError


def test_a_backbone_of_the_catalogue_is_found_by_name(
    folder_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    folder = tmp_path / "stable-diffusion-2-1-base"
    with pytest.raises(MissingWeightsError, match="and 10 more"):
        find_backbone("stable-diffusion-2-1-base")
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(folder_backbone, part).save_pretrained(folder / part)
    for name in (
        "merges.txt",
        "special_tokens_map.json",
        "vocab.json",
    ):  # the tiny tokenizer has none of them
        (folder / "tokenizer" / name).write_text("{}" if name.endswith("json") else "")
    found = find_backbone("stable-diffusion-2-1-base")
    assert list(found.unet.config.block_out_channels) == list(folder_backbone.unet.config.block_out_channels)
    assert found.scheduler.config.prediction_type == folder_backbone.scheduler.config.prediction_type
    assert find_backbone(found) is found
