"""The face parser on a folder of the published format with random weights."""

from pathlib import Path

import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from keyface.celeba import REGION_IDS, REGIONS
from keyface.faces.parser import FaceParser


def network(names: tuple[str, ...]) -> SegformerForSemanticSegmentation:
    torch.manual_seed(0)
    config = SegformerConfig(
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
    )
    return SegformerForSemanticSegmentation(config)


def test_labels_are_those_of_the_project_whatever_the_networks_order(tmp_path: Path) -> None:
    names = tuple(reversed(REGIONS))
    made = network(names)
    with torch.no_grad():  # a network that sees hair everywhere
        made.decode_head.classifier.weight.zero_()
        made.decode_head.classifier.bias.copy_(torch.tensor([float(name == "hair") for name in names]))
    made.save_pretrained(tmp_path)
    labels = FaceParser.load(tmp_path)(torch.zeros(2, 3, 70, 50))
    assert labels.shape == (2, 70, 50)
    assert labels.dtype == torch.uint8
    assert (labels == REGION_IDS["hair"]).all()


def test_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"lacks config\.json, model\.safetensors; run `keyface weights"
    ):
        FaceParser.load(tmp_path)
    network(("cat", "dog")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no face parser of CelebAMask-HQ's classes"):
        FaceParser.load(tmp_path)
