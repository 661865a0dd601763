"""The kit for plugins' tests says what is wrong, and nothing of what is right."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from keyface import testing
from keyface.miniature import zoo
from keyface.plugins import Category, Registry, edits

MOLES = Category("moles", ("moles",), "no moles", "Moles", own_labels=("Moles",), regions=("skin",))


@pytest.mark.parametrize("name", ["glasses", "old", "man", "freckles", "no-smile", "hat"])
def test_built_in_categories_pass(name: str) -> None:
    category = edits[name]
    testing.check_installed(category)
    testing.check_phrases(category)
    testing.check_captions(category)
    testing.check_regions(category)
    testing.check_conflicts(category)
    testing.check_code(category)


def test_phrases() -> None:
    tokenizer = zoo.backbone().tokenizer
    testing.check_phrases(edits["glasses"], tokenizer)
    with pytest.raises(AssertionError, match="phrase 'moles': the text encoder does not know moles"):
        testing.check_phrases(MOLES, tokenizer)
    testing.check_phrases(MOLES)
    with pytest.raises(AssertionError, match=r"is too long: .* tokens of 75"):
        testing.check_phrases(replace(MOLES, negative="very " * 80 + "smooth"))
    with pytest.raises(AssertionError, match="write it in plain words"):
        testing.check_phrases(replace(MOLES, targets=("moles &amp; spots",)))


def test_captions() -> None:
    testing.check_captions(MOLES)
    with pytest.raises(AssertionError, match="changes nothing"):
        testing.check_captions(replace(MOLES, source="moles"))


def test_regions() -> None:
    testing.check_regions(MOLES)
    nowhere = replace(MOLES, mask=lambda images, regions: torch.zeros_like(images[:, :1]))
    with pytest.raises(AssertionError, match="may change nothing in a rendered face"):
        testing.check_regions(nowhere)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ({"judge": lambda images: images}, "its judge gave"),
        ({"judge": lambda images: torch.full((len(images),), 2.0)}, "one number from 0 to 1"),
        ({"loss": lambda edited, source: edited.mean()}, "its loss gave"),
        ({"loss": lambda edited, source: source.mean(dim=(1, 2, 3))}, "its loss gives no finite gradient"),
        ({"loss": lambda edited, source: (edited * 0 / 0).mean(dim=(1, 2, 3))}, "no finite gradient"),
    ],
)
def test_code(code: dict[str, Any], said: str) -> None:
    testing.check_code(MOLES)
    with pytest.raises(AssertionError, match=said):
        testing.check_code(replace(MOLES, **code))


def test_conflicts() -> None:
    registry = Registry(group=None)
    left = registry.add(replace(MOLES, name="left", conflicts=("right",)))
    right = registry.add(replace(MOLES, name="right"))
    with pytest.raises(AssertionError, match="'left' conflicts with 'right', which does not say so"):
        testing.check_conflicts(left, registry)
    testing.check_conflicts(right, registry)
    with pytest.raises(AssertionError, match="'moles' is not installed"):
        testing.check_conflicts(MOLES, registry)
    with pytest.raises(AssertionError, match="'glasses' that is installed differs"):
        testing.check_installed(replace(edits["glasses"], strength=0.5))


def test_an_edit_changes_its_regions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = testing.check_edit(edits["glasses"])
    assert outcome.after.shape == outcome.before.shape == (2, 3, 256, 256)
    assert outcome.inside > 0.005

    def spilled(pipe: Any, face: Any, settings: Any) -> torch.Tensor:
        frames: torch.Tensor = face.frames.clone()
        frames[:, :, -1, -1] += 0.1
        return frames

    monkeypatch.setattr("keyface.authoring.faces.edit_face", spilled)
    with pytest.raises(AssertionError, match="changes 2 pixels outside its regions"):
        testing.check_edit(edits["glasses"])
