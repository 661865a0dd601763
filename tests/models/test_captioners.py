"""BLIP-2 in the published files' format, tiny and random, describes pictures."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from keyface.models.captioners import Blip2Captioner, find_captioner
from keyface.weights import MissingWeightsError, catalogue


def test_published_files_are_read_and_describe_pictures(blip2_folder: Path) -> None:
    wanted = {file.path for file in catalogue()["blip2"].files}
    assert wanted <= {path.name for path in blip2_folder.iterdir()}, "the test's files are not the published"
    assert len(list(blip2_folder.glob("model-*.safetensors"))) > 1
    captioner = Blip2Captioner.load(blip2_folder, max_new_tokens=5, beams=2)
    assert type(captioner.network).__name__ == "Blip2ForConditionalGeneration"
    assert type(captioner.processor).__name__ == "Blip2Processor"
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    texts = captioner(images)
    assert len(texts) == 3
    assert all(text.startswith("a photo of") for text in texts)
    assert all(len(text.split()) <= 8 for text in texts)
    assert captioner(images) == texts, "without sampling, the same picture has the same caption"
    assert captioner(images[1:2]) == texts[1:2], "what else is in the batch does not matter"


def test_the_picture_decides_the_caption(blip2_folder: Path) -> None:
    """A random network's words depend on the picture: its tokens do reach the language model."""
    captioner = Blip2Captioner.load(blip2_folder, max_new_tokens=8, beams=1)
    colours = torch.tensor([[-1, -1, -1], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1]])
    images = colours.float().view(6, 3, 1, 1).expand(6, 3, 16, 16)
    assert len(set(captioner(images))) > 1


def test_precision_of_the_weights(blip2_folder: Path) -> None:
    captioner = find_captioner(f"blip2:{blip2_folder}", "bfloat16", max_new_tokens=2, beams=1)
    assert isinstance(captioner, Blip2Captioner)
    assert captioner.network.dtype == torch.bfloat16
    assert len(captioner(torch.zeros(1, 3, 16, 16))) == 1


def test_the_miniature_describes_its_faces() -> None:
    from keyface.miniature.population import world
    from keyface.miniature.rendering import renderer

    faces = world.draw_faces(torch.arange(1_000_000, 1_000_004), 0, {"Eyeglasses": 1.0, "Sunglasses": 0.0})
    texts = find_captioner("miniature")(renderer.render_images(faces, 128))
    assert all(text.startswith("a photo of a") for text in texts)
    assert sum("wearing glasses" in text for text in texts) >= 3


def test_what_is_missing_or_wrong_is_said(
    blip2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="keyface weights get blip2"):
        find_captioner("blip2")
    with pytest.raises(LookupError, match="'blip3' is unknown; there are blip2"):
        find_captioner("blip3")
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json, preprocessor_config\.json, model"):
        Blip2Captioner.load(tmp_path)
    other = shutil.copytree(blip2_folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "clip"}))
    with pytest.raises(ValueError, match="holds a clip, blip-2 is needed"):
        Blip2Captioner.load(other)


def test_pickled_weights_are_not_read(blip2_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(blip2_folder, tmp_path / "pickled")
    for path in (*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"):
        path.unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"lacks model\.safetensors"):
        Blip2Captioner.load(folder)
