import json
from pathlib import Path

import pytest
import torch

from keyface.benchmark.drift import LongClip, render_long, score_part
from keyface.benchmark.raw import RawFrames, RawSink
from keyface.cli.main import main
from keyface.models.judges import Judges
from keyface.plugins import edits

SIZE = 64


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> LongClip:
    path = tmp_path_factory.mktemp("long") / "clip"
    return render_long(edits.select(["gray-hair"]), path, 40, 4, SIZE, 0)


def test_both_ends_have_the_truth_of_their_own_frames(clip: LongClip) -> None:
    for trial, frames in clip.parts(clip.frames):
        torch.testing.assert_close(frames, trial.frames, atol=1 / 127, rtol=0)
    (one, first), (other, last) = clip.parts(clip.frames)
    assert torch.equal(first, last.flip(0)), "so that the ends differ by the edit alone"
    assert (first[0] - first[-1]).abs().max() > 0.05, "the head moved"
    assert (clip.frames.read(19, 1) - clip.frames.read(20, 1)).abs().max() == 0.0
    assert not torch.allclose(one.flow, other.flow.flip(0), atol=0.1), "it moves back"


def test_an_edit_that_fades_and_turns_red_is_seen(clip: LongClip, tmp_path: Path) -> None:
    """The first frames are the faultless edit's; the last ones are the source's, and redder."""
    redder = torch.tensor([0.1, 0.0, 0.0]).view(1, 3, 1, 1)
    with RawSink(tmp_path / "edited") as sink:
        sink(clip.first.ground_truth)
        sink(clip.frames.read(4, 32))
        sink((clip.last.frames + redder).clamp(-1, 1))
    judges = Judges.miniature()
    first, last = (
        score_part(trial, frames, source, judges)
        for (trial, frames), (_, source) in zip(
            clip.parts(RawFrames(tmp_path / "edited", 40, SIZE)), clip.parts(clip.frames), strict=True
        )
    )
    assert first["edit_success"] == 1.0
    assert last["edit_success"] == 0.0
    assert first["outside_colour"] == pytest.approx(0.0, abs=0.005)
    assert last["outside_colour"] == pytest.approx(0.05, abs=0.01)
    assert last["outside_change"] > first["outside_change"] + 0.01
    assert last["identity_distance"] < first["identity_distance"]


def test_the_command_edits_and_says_how_the_end_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--frames", "8", "--window", "3", "--steps", "2", "--device", "cpu", "--settings.interval", "4"]
    assert main(["benchmark", "drift", *words, "-o", str(tmp_path / "drift.json")]) == 0
    rows = json.loads((tmp_path / "drift.json").read_text())
    assert [row["frames"] for row in rows] == ["first 3", "last 3", "last less first"]
    first, last, less = rows
    for name in ("identity_distance", "outside_change", "temporal_loss"):
        assert less[name] == pytest.approx(last[name] - first[name])
    assert 0.0 <= first["identity_distance"] < 0.5
    assert "identity_distance" in capsys.readouterr().out


def test_windows_that_overlap_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "drift", "--frames", "10", "--window", "6"]) != 0
    assert "two windows" in capsys.readouterr().err
