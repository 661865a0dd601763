"""A category's own judge in an evaluation: its scores, and when they are made anew."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from keyface.evaluation.clip_sets.rendered import RenderedProtocol, render_clip_set
from keyface.evaluation.rows.control_rows import ground_truth, source
from keyface.evaluation.rows.ours import prompts_of
from keyface.evaluation.scoring.cache import ScoreCache
from keyface.evaluation.scoring.scorer import Scorer
from keyface.models.judges import Judges
from keyface.plugins import edits


class Always:
    """A judge that says the same of every face."""

    def __init__(self, score: float, version: str) -> None:
        self.score, self.version = score, version

    def __call__(self, images: Tensor, /) -> Tensor:
        return torch.full((len(images),), self.score)


def test_freckles_are_scored_by_their_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = RenderedProtocol(edits="freckles", edited=1, gallery=0, frames=2)
    clips = render_clip_set(tmp_path / "clips", protocol)
    (clip,) = clips.edited
    assert prompts_of(clip).negative == f"{clip.source}, smooth skin", "as in `keyface edit`"

    def score(row: object) -> float:
        scorer = Scorer(clips, Judges(), ScoreCache(tmp_path / "cache"))
        return scorer.score(row, scorer.original(clip))["edit_success"]  # type: ignore[arg-type]

    truth = ground_truth(clips)
    assert truth is not None
    assert score(truth) > 0.75, "the renderer's own freckles"
    assert score(source(clips)) < 0.25, "somebody without"
    freckles = edits["freckles"]
    for judge, expected in (
        (Always(0.25, "one"), 0.25),
        (Always(0.75, "one"), 0.25),  # the same version: what was kept counts
        (Always(0.75, "two"), 0.75),
    ):
        monkeypatch.setitem(edits._categories, "freckles", replace(freckles, judge=judge))
        assert score(truth) == expected
