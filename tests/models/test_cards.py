"""Cards beside weights: what is written is read again, and says whose licences come with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyface.models.cards import LARGEST, read_card, write_card, write_json

FACTS: dict[str, Any] = {
    "title": "Identity branch (ε1)",
    "configuration": {"backbone": "miniature", "identity_network": "arcface", "seed": 3},
    "data": {"class": "ShardsDataModule", "shards": "data/celeba-hq"},
    "samples_seen": 32,
    "steps": 2,
    "trained_parameters": 12,
    "metrics": {"val/loss": 0.12345},
}


def test_a_runs_card_names_licences_and_how_to_load_it(tmp_path: Path) -> None:
    write_card(tmp_path, FACTS)
    text = (tmp_path / "README.md").read_text()
    front, _, body = text.removeprefix("---\n").partition("\n---\n")
    assert "license: other" in front.splitlines()
    for told in (
        "# Identity branch (ε1)",
        "load_unet(FOLDER)`. Tuned from miniature.",
        "32 samples seen in 2 steps; 12 parameters trained.",
        "| val/loss | 0.1235 |",
        "- ArcFace",
        "Commercial use, by keyface's reading: no.",
        "```yaml\nbackbone: miniature\nidentity_network: arcface\nseed: 3\n```",
        "```yaml\nclass: ShardsDataModule\nshards: data/celeba-hq\n```",
    ):
        assert told in body
    card = read_card(tmp_path)
    assert {name: card[name] for name in FACTS} == FACTS
    assert [licence["name"] for licence in card["licences"]] == ["arcface"]


def test_weights_of_keyface_alone_are_free(tmp_path: Path) -> None:
    write_card(tmp_path, {**FACTS, "configuration": {"backbone": "miniature"}, "metrics": {}}, form="unet")
    text = (tmp_path / "README.md").read_text()
    assert "license: apache-2.0" in text
    assert "None: not validated." in text
    assert "UNet2DConditionModel.from_pretrained(FOLDER)" in text
    assert read_card(tmp_path)["licences"] == []


def test_what_is_no_card_is_refused(tmp_path: Path) -> None:
    assert read_card(tmp_path) == {}
    write_json(tmp_path, {"steps": 3})
    assert json.loads((tmp_path / "card.json").read_text()) == {"steps": 3}
    for content, message in (
        ("[", "cannot be read as JSON"),
        ("[]", "an object with names and values is needed"),
        (" " * (LARGEST + 1), "larger"),
    ):
        (tmp_path / "card.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_card(tmp_path)
