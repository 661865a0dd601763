"""What the metrics of a training add up, and what they say of themselves."""

import pytest
import torch
from torchmetrics import Metric

from keyface.metrics.direction import DirectionSimilarity
from keyface.metrics.identity import TemporalIdentity
from keyface.metrics.locality import BackgroundDrift, OutsideChange
from keyface.metrics.retrieval import RetrievalIdentity
from keyface.metrics.temporal import TemporalLoss

SUM, COUNT = torch.float64, torch.int64


@pytest.mark.parametrize(
    ("kind", "better", "states"),
    [
        (DirectionSimilarity, True, {"total": SUM, "images": COUNT}),
        (TemporalIdentity, True, {"tl_id": SUM, "tg_id": SUM, "clips": COUNT}),
        (TemporalLoss, False, {"total": SUM, "clips": COUNT}),
        (OutsideChange, None, {"absolute": SUM, "squares": SUM, "count": COUNT}),
        (BackgroundDrift, None, {"absolute": SUM, "squares": SUM, "count": COUNT}),
    ],
)
def test_sums_lose_no_digits(kind: type[Metric], better: bool | None, states: dict[str, torch.dtype]) -> None:
    """Millions of pixels of a small change still count."""
    metric = kind()
    assert {name: getattr(metric, name).dtype for name in metric.metric_state} == states
    assert all(not getattr(metric, name).any() for name in states)
    assert metric.higher_is_better is better


@pytest.mark.parametrize(
    "kind",
    [DirectionSimilarity, TemporalIdentity, TemporalLoss, OutsideChange, BackgroundDrift, RetrievalIdentity],
)
def test_a_step_needs_no_earlier_ones_and_gives_no_gradient(kind: type[Metric]) -> None:
    assert kind.full_state_update is False
    assert kind.is_differentiable is False
