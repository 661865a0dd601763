"""Models that the method cannot edit with are refused by name, before their weights are read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from keyface.diffusion.backbone import Backbone, load_unet
from keyface.diffusion.single_file import backbone_from_file


@pytest.fixture
def folder(backbone: Backbone, tmp_path: Path) -> Path:
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(backbone, part).save_pretrained(tmp_path / part)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"in_channels": 9}, r"unet: an inpainting U-Net \(9 input channels"),
        ({"in_channels": 8}, "such as InstructPix2Pix's"),
        ({"in_channels": 6}, "a U-Net with 6 input channels for 4 it predicts"),
        ({"addition_embed_type": "text_time"}, "unet: a U-Net of Stable Diffusion XL"),
    ],
)
def test_unets_of_other_kinds(folder: Path, changes: dict[str, object], told: str) -> None:
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    # What is no network's weights any more shows that nothing of them is read.
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=f"{told}.*does not edit with; use a text-to-image model"):
        Backbone.from_folder(folder)
    with pytest.raises(ValueError, match=told.removeprefix("unet: ")):
        load_unet(folder / "unet")


def test_transformers_in_place_of_a_unet(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text('{"_class_name": "SD3Transformer2DModel"}')
    with pytest.raises(ValueError, match="its model is a SD3Transformer2DModel instead of a U-Net"):
        Backbone.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3),
                "model.diffusion_model.out.2.weight": torch.zeros(4, 8, 3, 3),
            },
            "an inpainting U-Net",
        ),
        ({"conditioner.embedders.0.transformer.weight": torch.zeros(1)}, "a file of Stable Diffusion XL"),
        ({"model.diffusion_model.label_emb.0.0.weight": torch.zeros(1)}, "a file of Stable Diffusion XL"),
    ],
)
def test_single_files_of_other_kinds(tmp_path: Path, weights: dict[str, torch.Tensor], told: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    with pytest.raises(ValueError, match=f"model.safetensors: {told}"):
        backbone_from_file(path)
