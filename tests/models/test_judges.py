"""Who may judge."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from keyface.models.judges import Judges, edit_success, folder_sha256, judge_versions
from keyface.plugins import Category, edits
from keyface.plugins.extensions import version_of


def recognizer(images: Tensor, landmarks: Tensor | None) -> Tensor:
    return torch.nn.functional.normalize(images.flatten(1), dim=-1)


def test_a_judge_without_a_version_is_refused() -> None:
    with pytest.raises(ValueError, match="judge 'mine' has no version"):
        Judges({"mine": recognizer}).require_versions()
    with pytest.raises(ValueError, match="at least one recognizer"):
        Judges({}).require_versions()
    with pytest.raises(ValueError, match="recognizer name 'a/b'"):
        Judges({"a/b": recognizer}, versions={"a/b": "1"})


def test_flow_brings_its_version_with_its_name() -> None:
    class Still:
        name = "nothing moves"

        def __call__(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.zeros(len(first), 2, *first.shape[-2:])

    judges = Judges({"mine": recognizer}, versions={"mine": "1"}).with_flow(Still())
    assert judges.versions == {"mine": "1", "flow": "nothing moves"}


def test_judges_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_judges.py").write_text(
        "from keyface.models.judges import Judges\n"
        "def real():\n"
        "    return Judges({'arcface': lambda images, landmarks: images}, versions={'arcface': 'r100'})\n"
        "def unnamed():\n"
        "    return Judges({'arcface': lambda images, landmarks: images})\n"
        "def wrong():\n"
        "    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert set(Judges.load("my_judges:real").recognizers) == {"arcface"}
    with pytest.raises(ValueError, match="judge 'arcface' has no version"):
        Judges.load("my_judges:unnamed")
    with pytest.raises(ValueError, match="it gave a int, not Judges"):
        Judges.load("my_judges:wrong")
    with pytest.raises(ValueError, match="my_judges has no function 'missing'"):
        Judges.load("my_judges:missing")
    with pytest.raises(ImportError):
        Judges.load("no_such_module_at_all:real")


def test_a_folders_hash_changes_with_any_of_its_weights(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    first = folder_sha256(tmp_path)
    (tmp_path / "README.md").write_text("no weights")
    assert folder_sha256(tmp_path) == first
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert folder_sha256(tmp_path) != first


class Brightness:
    """Takes bright pictures for faces with glasses."""

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return {"Eyeglasses": images.mean(dim=(1, 2, 3)) > 0}


def test_edit_success_is_the_share_of_frames() -> None:
    frames = torch.tensor([1.0, 1.0, 1.0, -1.0]).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    assert edit_success(Brightness(), frames, edits["glasses"]) == pytest.approx(0.75)
    assert edit_success(Brightness(), frames, edits["no-glasses"]) == pytest.approx(0.25)


def _red(images: Tensor) -> Tensor:
    return images[:, 0].mean(dim=(1, 2)).clamp(0.0, 1.0)


def test_a_category_brings_a_judge_of_its_own() -> None:
    """It is asked before the classifier, and where that knows nothing; of several the least counts."""
    red = Category("blush", ("a",), "b", "Blush", own_labels=("Blush",), judge=_red)
    frames = torch.tensor([1.0, 0.5, 0.25, -1.0]).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    assert edit_success(None, frames, red) == pytest.approx(1.75 / 4)
    glasses = replace(edits["glasses"], judge=_red)
    assert edit_success(Brightness(), frames, glasses) == pytest.approx(1.75 / 4), "not .75, the classifier's"
    assert edit_success(Brightness(), frames, red, edits["no-glasses"]) == 0.0
    assert edit_success(Brightness(), frames, red, edits["glasses"]) == pytest.approx(1.75 / 4)
    assert edit_success(None, frames, red, edits["glasses"]) is None, "nobody knows of the glasses"
    with pytest.raises(ValueError, match=r"'blush': its judge gave \(\) for 4 images"):
        edit_success(None, frames, replace(red, judge=lambda images: images.mean()))
    with pytest.raises(ValueError, match="one number from 0 to 1"):
        edit_success(None, frames, replace(red, judge=lambda images: images.mean(dim=(1, 2, 3))))


def test_a_judges_version_changes_with_its_module_and_its_weights(tmp_path: Path) -> None:
    def judge_of(text: str) -> Any:
        path = tmp_path / f"judging_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module.judge

    first = version_of(judge_of("def judge(images):\n    return images\n"))
    second = version_of(judge_of("LEVEL = 1\ndef judge(images):\n    return images\n"))
    assert first.rpartition(" ")[2] != second.rpartition(" ")[2]

    class Weighted:
        version = "weights 3"

        def __call__(self, images: Tensor) -> Tensor:
            return images

    assert version_of(Weighted()) == "weights 3"
    assert judge_versions(edits.select(["glasses"])) == {}
    assert list(judge_versions(edits.select(["freckles"]))) == ["freckles"]
