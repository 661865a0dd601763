"""Margin, border and size of the crop of a face."""

import json
from pathlib import Path

import pytest
import torch
from rendered_footage import place, wall

from keyface.cli.main import main
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.pipeline.planning.face_clips import CropFrames, cut_crops, fixed_clips
from keyface.pipeline.planning.plan import make_plan
from keyface.pipeline.request.framing import Framing
from keyface.pipeline.request.request import VideoRequest
from keyface.video import VideoReader, write_clip

FAST = ["--steps", "2", "--guidance", "2", "--settings.interval", "3"]
SOURCE = ["--source", "a photo of a young man"]


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of a face near the left border."""
    path: Path = tmp_path_factory.mktemp("face") / "face.mp4"
    frames = [wall(0.2) for _ in range(3)]
    for number, frame in enumerate(frames):
        place(frame, 0, number, (60, 90), side=60)
    write_clip(path, torch.stack(frames), 25)
    return path


def test_sides_are_multiples_of_the_coarsest_cell() -> None:
    assert Framing().side(512, 64) == 512
    assert Framing(size=768).side(512, 64) == 768
    with pytest.raises(
        ValueError, match=r"framing.size is 500; .* a multiple of 64, such as 512; .* for 512"
    ):
        Framing(size=500).side(512, 64)
    for wrong, name in (({"margin": 0.2}, "margin"), ({"border": "red"}, "border"), ({"size": 8}, "size")):
        with pytest.raises(ValueError, match=f"framing.{name} is"):
            Framing(**wrong)


def test_a_margin_makes_the_square_larger_about_the_same_middle(face: Path, tmp_path: Path) -> None:
    pipe = FaceEditPipeline.from_pretrained()
    usual, wide = (
        make_plan(
            VideoRequest(face, tmp_path / "out.mp4", edits="old", framing=Framing(margin=margin)),
            pipe.finder,
            pipe.placement,
        )
        .clips[0]
        .squares
        for margin in (1.0, 1.5)
    )
    torch.testing.assert_close(wide[:, 2], 1.5 * usual[:, 2], rtol=0, atol=1 / 32)
    torch.testing.assert_close(wide[:, [0, 1, 3]], usual[:, [0, 1, 3]], rtol=0, atol=1 / 32)


@pytest.mark.parametrize(("border", "beyond"), [("black", -1.0), ("mirror", 0.2)])
def test_beyond_the_frame_is_what_was_asked_for(tmp_path: Path, border: str, beyond: float) -> None:
    write_clip(tmp_path / "grey.mp4", torch.full((2, 3, 64, 64), 0.2), 25)
    request = VideoRequest(tmp_path / "grey.mp4", tmp_path / "out.mp4", prompt="a man", crop="centre")
    (clip,) = fixed_clips(request)
    clip.squares[:, 0] -= 32.0
    clip.squares[:, 3] = 1e-4
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    cut_crops(request.reader, [(clip, pixels)], Framing(border=border).border)  # type: ignore[arg-type]
    (crops,) = CropFrames(pixels).chunks(2)
    assert float(crops[..., 20:].mean()) == pytest.approx(0.2, abs=0.03)
    assert float(crops[..., :12].mean()) == pytest.approx(beyond, abs=0.03)


def test_options_reach_the_edit_and_its_record(
    face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", str(face), "--edits", "old", *SOURCE, *FAST]
    outputs = {}
    for name, more in (
        ("usual", []),
        ("black", ["--framing.border", "black", "--framing.margin", "1.6"]),
        ("mirror", ["--framing.margin", "1.6"]),
        ("large", ["--framing.size", "320"]),
    ):
        output = tmp_path / f"{name}.mp4"
        assert main([*words, "-o", str(output), "--encoding.quality", "0", *more]) == 0
        outputs[name] = VideoReader(output).whole()
    assert json.loads((tmp_path / "black.json").read_text())["framing"] == {
        "margin": 1.6,
        "border": "black",
        "size": None,
    }
    for one, other in (("usual", "mirror"), ("mirror", "black"), ("usual", "large")):
        assert float((outputs[one] - outputs[other]).abs().max()) > 0.05, (one, other)
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "no.mp4"), "--framing.size", "100"]) == 1
    assert "framing.size is 100; these weights need a multiple of" in capsys.readouterr().err
    assert main([*words, "-o", str(tmp_path / "no.mp4"), "--crop", "centre", "--framing.margin", "2"]) == 1
    assert "--framing.margin has no say" in capsys.readouterr().err
    assert not (tmp_path / "no.mp4").exists()


def test_a_cache_does_not_mix_up_borders(face: Path, tmp_path: Path) -> None:
    """With another border the crops differ, and so does what is kept of them."""
    cache = tmp_path / "cache"
    words = ["edit", str(face), "--edits", "old", *SOURCE, *FAST, "--cache", str(cache)]
    for number, border in enumerate(("mirror", "black", "mirror"), start=1):
        output = tmp_path / f"{number}.mp4"
        assert main([*words, "-o", str(output), "--framing.margin", "1.6", "--framing.border", border]) == 0
        assert len(list(cache.iterdir())) == min(number, 2)
