"""Which controls each metric puts in order: is what has a fault worse than what has none?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from keyface.evaluation.rows.controls import COMPARED_WITH, CONTROLS
from keyface.evaluation.scoring.metrics import METRICS, Metric
from keyface.evaluation.scoring.row_scores import RowScores
from keyface.evaluation.scoring.summary import interval

Outcome = Literal["ordered", "reversed", "unseen", "unclear"]

ROUNDING = 1e-6
"""Differences below this are no differences."""


@dataclass(frozen=True)
class Lead:
    """By how much one row beats another on the n clips of both: the mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Ordering:
    """What a metric makes of one control.

    Attributes:
        metric: Its name.
        control: The row with the fault, or the one that edits nothing.
        better: The row that is better by construction.
        outcome: `ordered` where the interval of the lead lies above 0, `reversed` where it lies below,
            `unseen` where every clip scores the same in both rows, `unclear` where the interval holds 0 or
            there is one clip only.
        lead: By how much `better` beats `control`; above 0 is right.
    """

    metric: str
    control: str
    better: str
    outcome: Outcome
    lead: Lead


def controls_of(rows: Sequence[RowScores]) -> dict[str, RowScores]:
    """Return the controls among rows, by name."""
    return {row.candidate.name: row for row in rows if row.candidate.kind == "control"}


def order_controls(rows: Sequence[RowScores], seed: int) -> list[Ordering]:
    """Compare each control with the row that is better by construction, by every metric that was measured.

    Args:
        rows: All rows; only controls are looked at.
        seed: Of the bootstrap.

    Returns:
        Metrics in the order of the report, for each the controls in the order of `CONTROLS`; a pair that the
        metric did not measure on any clip is left out.
    """
    controls = controls_of(rows)
    found = (compare(metric, name, controls, seed) for metric in METRICS.values() for name in CONTROLS)
    return [each for each in found if each is not None]


def compare(metric: Metric, control: str, controls: Mapping[str, RowScores], seed: int) -> Ordering | None:
    """Compare one control with the row that is better by construction.

    Args:
        metric: The metric.
        control: Its name.
        controls: The controls by name.
        seed: Of the bootstrap.

    Returns:
        The comparison, or None where the metric did not measure both on any clip.
    """
    better = next((name for name in COMPARED_WITH.get(control, ()) if name in controls), None)
    if better is None or control not in controls:
        return None
    found = lead(metric, controls[better], controls[control], seed)
    return None if found is None else Ordering(metric.name, control, better, _outcome(found), found)


def lead(metric: Metric, better: RowScores, worse: RowScores, seed: int) -> Lead | None:
    """Return by how much one row beats another, clip by clip; None where they have no clip in common."""
    first, second = (
        {each.clip.key: value for each in row.clips if (value := each.value(metric.name)) is not None}
        for row in (better, worse)
    )
    sign = 1.0 if metric.higher else -1.0
    leads = [sign * (first[key] - second[key]) for key in first if key in second]
    if not leads:
        return None
    low, high = interval(leads, seed)
    return Lead(sum(leads) / len(leads), low, high, len(leads))


def _outcome(found: Lead) -> Outcome:
    if max(-found.low, found.high) <= ROUNDING:
        return "unseen"
    if found.n > 1 and found.low > ROUNDING:
        return "ordered"
    return "reversed" if found.n > 1 and found.high < -ROUNDING else "unclear"
