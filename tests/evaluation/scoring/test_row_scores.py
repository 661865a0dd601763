"""Gain of whole rows: real little clips, scored against the source's own distance to the faultless edit."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.ground_truth import EDITS, GroundTruth, write_ground_truth
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.control_rows import ground_truth, source, spoiled
from keyface.evaluation.scoring.row_scores import RowScores, score_rows
from keyface.models.judges import Judges
from keyface.video.lossless import write_lossless

SIZE = 32


def colours(images: Tensor, landmarks: Tensor | None) -> Tensor:
    """A recognizer by mean colour."""
    return normalize(images.mean(dim=(2, 3)) + 2.0, dim=-1)


JUDGES = Judges({"colours": colours}, versions={"colours": "1"})


def grey(level: float) -> Tensor:
    return torch.full((2, 3, SIZE, SIZE), level)


def clip_set(folder: Path, spec: Callable[..., ClipSpec], edits: dict[str, float]) -> ClipSet:
    """Clips of -.2, each with a faultless edit of the given level inside rows and columns 4 to 11."""
    clips = tuple(spec(key=key, video=f"{key}.mp4", frames=2, size=SIZE, identity=key) for key in edits)
    region = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    region[:, 4:12, 4:12] = True
    for clip, level in zip(clips, edits.values(), strict=True):
        original = grey(-0.2)
        edit = torch.where(region[:, None], grey(level), original)
        write_lossless(folder / clip.video, original, Fraction(10))
        write_lossless(folder / EDITS / f"{clip.key}.mp4", edit, Fraction(10))
        flow, valid = torch.zeros(1, 2, SIZE, SIZE), torch.ones(1, SIZE, SIZE, dtype=torch.bool)
        write_ground_truth(folder, clip, GroundTruth(flow, valid, region))
    return ClipSet("made up", 0, "a test", clips, (), folder)


def score(clips: ClipSet, folder: Path, cache: Path | None = None) -> dict[str, RowScores]:
    truth = ground_truth(clips)
    assert truth is not None
    rows, _ = score_rows(clips, [source(clips), truth, *spoiled(clips, folder)], JUDGES, cache)
    return {row.candidate.name: row for row in rows}


def test_gain_is_the_share_of_the_way(tmp_path: Path, spec: Callable[..., ClipSpec]) -> None:
    """Edits of .4 and .1, in steps of 8 bits 51 and 13 of 255: a quarter and one and a half of them."""
    found = score(clip_set(tmp_path, spec, {"a": 0.2, "b": -0.1}), tmp_path / "controls")
    assert found["(source)"].values("gain") == [0, 0]
    assert found["(rendered)"].values("gain") == [1, 1]
    assert found["(lazy edit)"].values("gain") == pytest.approx([0.25, 0.25], abs=0.02)
    assert found["(overdone edit)"].values("gain") == pytest.approx([0.5, 0.5], abs=0.05)
    assert found["(flicker)"].values("gain") == pytest.approx([1 - 0.01 / 0.2, 1 - 0.01 / 0.05], abs=0.05)


def test_a_clip_whose_faultless_edit_changes_nothing_has_none(
    tmp_path: Path, spec: Callable[..., ClipSpec]
) -> None:
    found = score(clip_set(tmp_path, spec, {"a": 0.2, "b": -0.2}), tmp_path / "controls")
    assert found["(rendered)"].values("inside_l1") == [0, 0]
    assert found["(rendered)"].values("gain") == [1]
    assert "gain" not in found["(source)"].clips[1].values


def test_scores_kept_before_there_was_gain_hold(tmp_path: Path, spec: Callable[..., ClipSpec]) -> None:
    clips, cache = clip_set(tmp_path, spec, {"a": 0.2}), tmp_path / "cache"
    score(clips, tmp_path / "controls", cache)
    kept = [path for path in cache.rglob("*.json") if '"score"' in path.read_text()]
    assert len(kept) == 8
    assert not any('"gain"' in path.read_text() for path in kept)
    assert score(clips, tmp_path / "controls", cache)["(lazy edit)"].values("gain") == pytest.approx(
        [0.25], abs=0.02
    )
