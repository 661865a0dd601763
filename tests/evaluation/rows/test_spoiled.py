"""Controls with one known fault: sizes by hand, and files that say what they were made from."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.ground_truth import EDITS
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.control_rows import spoiled
from keyface.evaluation.rows.controls import (
    COMPARED_WITH,
    CONTROLS,
    DRIFT,
    FLICKER,
    LAZY,
    OVERDONE,
    SHIFT,
    ZOOM,
)
from keyface.evaluation.rows.spoiled import FAULTS, blend, drift, flicker, shift, zoom
from keyface.video.lossless import write_lossless

Spec = Callable[..., ClipSpec]
SIZE = 32
STEP = 2 / 255
"""One step of 8 bits, of values in [-1, 1]."""


def columns(frames: int = 4) -> Tensor:
    """Every column a grey of its own, the same in all frames."""
    return torch.linspace(-0.8, 0.8, SIZE).expand(frames, 3, SIZE, SIZE).clone()


def test_a_share_of_an_edit() -> None:
    original, edit = torch.full((2, 3, 2, 2), -0.2), torch.full((2, 3, 2, 2), 0.6)
    assert blend(original, edit, 0.25).unique().tolist() == pytest.approx([0.0])
    assert blend(original, edit, 1.5).unique().tolist() == pytest.approx([1.0])
    assert blend(original, edit, 2.5).unique().tolist() == [1.0], "clamped, as pixels are"


def test_flicker_is_brighter_and_darker_in_turn() -> None:
    made = flicker(torch.zeros(3, 3, 2, 2), 0.01)
    assert made.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.02, -0.02, 0.02]), "of [-1, 1]"


def test_a_shift_moves_columns_to_the_right() -> None:
    frames = columns()
    made = shift(frames, 1)
    assert torch.equal(made[..., 1:], frames[..., :-1])
    assert torch.equal(made[..., 0], frames[..., 0])


def test_a_zoom_leaves_the_middle_and_moves_the_rest_outwards() -> None:
    """A ramp of .052 a column stays a ramp that rises a 1.25th as fast; bicubic weights are off by .002."""
    made = zoom(columns(), 1.25)
    ramp = columns()[0, 0, 0]
    centre = (SIZE - 1) / 2
    expected = (torch.arange(SIZE) - centre) / 1.25 * (ramp[1] - ramp[0])
    assert made[2, 1, 7, 4:-4].tolist() == pytest.approx(expected[4:-4].tolist(), abs=3e-3)
    assert torch.allclose(zoom(columns(), 1.0), columns(), atol=1e-5)


def test_a_drift_goes_from_nothing_to_all_of_it() -> None:
    made = drift(torch.zeros(5, 3, 2, 2), 0.04).mean(dim=(2, 3))
    assert made[:, 0].tolist() == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])
    assert made[:, 1].tolist() == [0.0] * 5
    assert made[:, 2].tolist() == pytest.approx([0, -0.02, -0.04, -0.06, -0.08])


def test_every_fault_is_a_control_with_a_meaning_and_a_row_that_is_better() -> None:
    assert list(FAULTS) == [LAZY, OVERDONE, FLICKER, SHIFT, ZOOM, DRIFT]
    assert set(FAULTS) <= set(CONTROLS)
    assert set(FAULTS) <= set(COMPARED_WITH)


@pytest.fixture
def clips(tmp_path: Path, spec: Spec) -> ClipSet:
    """One clip, grey of -.2, and its faultless edit, grey of .2."""
    clip = spec(frames=3, size=SIZE)
    write_lossless(tmp_path / clip.video, torch.full((3, 3, SIZE, SIZE), -0.2), Fraction(10))
    write_lossless(tmp_path / EDITS / f"{clip.key}.mp4", torch.full((3, 3, SIZE, SIZE), 0.2), Fraction(10))
    return ClipSet("made up", 0, "a test", (clip,), (), tmp_path)


def level(rows: list[Candidate], name: str, clips: ClipSet) -> list[float]:
    """Mean of each frame of a row's clip."""
    row = next(row for row in rows if row.name == name)
    found: list[float] = row.frames_of(clips.edited[0]).mean(dim=(1, 2, 3)).tolist()
    return found


def test_controls_with_a_fault_are_files_like_everybodys(clips: ClipSet, tmp_path: Path) -> None:
    rows = spoiled(clips, tmp_path / "controls")
    assert [(row.name, row.kind) for row in rows] == [(name, "control") for name in FAULTS]
    assert level(rows, LAZY, clips) == pytest.approx([-0.1] * 3, abs=STEP)
    assert level(rows, OVERDONE, clips) == pytest.approx([0.4] * 3, abs=STEP)
    assert level(rows, FLICKER, clips) == pytest.approx([0.22, 0.18, 0.22], abs=STEP)
    assert level(rows, SHIFT, clips) == pytest.approx([0.2] * 3, abs=STEP)
    sidecar = json.loads((tmp_path / "controls" / "colour drift" / "a.json").read_text())
    assert sidecar["made_from"]["size"] == 0.04
    assert "synthetic" in sidecar["statement"].lower()


def test_they_are_made_once_and_anew_from_another_edit(clips: ClipSet, tmp_path: Path) -> None:
    folder = tmp_path / "controls"
    spoiled(clips, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert len(before) == 2 * len(FAULTS)
    spoiled(clips, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before
    edit = tmp_path / EDITS / "a.mp4"
    edit.unlink()
    write_lossless(edit, torch.full((3, 3, SIZE, SIZE), 0.6), Fraction(10))
    assert level(spoiled(clips, folder), LAZY, clips) == pytest.approx([0.0] * 3, abs=STEP)


def test_without_a_faultless_edit_the_original_is_spoiled(tmp_path: Path, spec: Spec) -> None:
    clip = spec(frames=2, size=SIZE)
    write_lossless(tmp_path / clip.video, columns(2), Fraction(10))
    clips = ClipSet("made up", 0, "a test", (clip,), (), tmp_path)
    rows = spoiled(clips, tmp_path / "controls")
    assert [row.name for row in rows] == [FLICKER, SHIFT, ZOOM, DRIFT]
    original = clips.frames_of(clip)
    assert torch.allclose(rows[1].frames_of(clip)[..., 1:], original[..., :-1], atol=1e-6)


def test_one_frame_cannot_flicker_or_drift(tmp_path: Path, spec: Spec) -> None:
    clip = spec(frames=1, size=SIZE)
    write_lossless(tmp_path / clip.video, columns(1), Fraction(10))
    rows = spoiled(ClipSet("made up", 0, "a test", (clip,), (), tmp_path), tmp_path / "controls")
    assert {row.name: row.video_of(clip) is not None for row in rows} == {
        FLICKER: False, SHIFT: True, ZOOM: True, DRIFT: False
    }  # fmt: skip
