"""`keyface miniature`: clips, sheets and figures."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from keyface.cli.main import main
from keyface.commands.miniature import render
from keyface.miniature import zoo
from keyface.miniature.population import clips
from keyface.miniature.rendering import renderer
from keyface.video import VideoReader


def test_clip_writes_the_frames_of_the_world(tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.mp4"
    render.clip(out, seconds=0.2, fps=29.97, size=48)
    video = VideoReader(out)
    assert len(video) == 6
    assert video.fps == Fraction(30000, 1001)
    frames = torch.cat(list(video.chunks(8)))
    truth = renderer.render_images(clips.draw_clip(1_000_003, 0, 6, 30000 / 1001), 48)
    assert frames.shape == truth.shape
    assert (frames - truth).abs().mean() < 0.08  # H.264


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(25, Fraction(25)), (29.97, Fraction(30000, 1001)), (23.976, Fraction(24000, 1001)),
     (59.94, Fraction(60000, 1001)), (12.5, Fraction(25, 2)), (30, Fraction(30))],
)  # fmt: skip
def test_rates_are_exact(fps: float, rate: Fraction) -> None:
    assert render.exact_rate(fps) == rate


def test_impossible_clips_are_refused(tmp_path: Path) -> None:
    for options in ({"seconds": 0.0}, {"fps": 0.0}, {"size": 8}, {"fps": float("nan")}):
        with pytest.raises(ValueError, match=r"at least|above 0"):
            render.clip(tmp_path / "a.mp4", **options)
    assert not (tmp_path / "a.mp4").exists()


def height(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.height


def test_sheet(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    render.sheet(out, count=3, columns=2, size=32)
    plain = height(out)
    render.sheet(out, count=3, columns=2, size=32, change="glasses")
    assert height(out) > 1.8 * plain
    with pytest.raises(ValueError, match="did you mean 'glasses'"):
        render.sheet(out, change="glases")


def test_measure_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "figures.json"
    words = ["miniature", "measure", "--faces", "16", "--prompts", "2", "--json", "-o", str(file)]
    assert main(words) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert figures["n"] == 16
    assert set(figures["identity_auc"]) == {"identity_network", *zoo.RECOGNIZERS}
    assert json.loads(file.read_text()) == figures
    assert f"written: {file}" in printed.err
