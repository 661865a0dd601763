"""Are the metrics fit to order methods? They must order rows whose order is known.

A step between neighbouring controls counts as wrong where the 95 % interval of the paired differences lies
wholly on the wrong side; the first control must be better than the last with the interval wholly on the right
side. A control that edits nothing may not reach the score of an edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from keyface.evaluation.rows.controls import UNEDITED
from keyface.evaluation.scoring.metrics import METRICS, Metric
from keyface.evaluation.scoring.row_scores import RowScores
from keyface.evaluation.scoring.summary import interval

ENOUGH = 10
"""With fewer clips a metric that points the right way is not called unfit for want of certainty."""

_ROUNDING = 1e-6
"""Differences below this are no differences."""


@dataclass(frozen=True)
class Verdict:
    """Whether a metric ordered the controls.

    Attributes:
        metric: Its name.
        fit: Whether it did; None where too few controls were scored to tell.
        reason: What it did wrong, or why nobody can tell; empty where it is fit.
    """

    metric: str
    fit: bool | None
    reason: str = ""


def calibrate(rows: Sequence[RowScores], seed: int) -> list[Verdict]:
    """Judge every metric that was measured, in the order of the report.

    Args:
        rows: All rows; only controls are looked at.
        seed: Of the bootstrap.
    """
    controls = {row.candidate.name: row for row in rows if row.candidate.kind == "control"}
    measured = [each for each in METRICS.values() if any(row.values(each.name) for row in rows)]
    return [_verdict(metric, controls, seed) for metric in measured]


def _verdict(metric: Metric, controls: Mapping[str, RowScores], seed: int) -> Verdict:
    verdict = _below_ceiling(metric, controls)
    if verdict is not None and verdict.fit is not True:
        return verdict
    order = [name for name in metric.order if name in controls and controls[name].values(metric.name)]
    if len(order) < 2 or (metric.ends_differ and order[-1] != metric.order[-1]):
        return verdict or Verdict(metric.name, None, "too few controls were scored to tell")
    for better, worse in pairwise(order):
        low, high, mean = _gain(metric, controls[better], controls[worse], seed)
        if high < -_ROUNDING:
            return Verdict(
                metric.name,
                False,
                f"{worse} scores better than {better} by {-mean:.3g} [{-high:.3g}, {-low:.3g}]",
            )
    if metric.ends_differ:
        low, high, mean = _gain(metric, controls[order[0]], controls[order[-1]], seed)
        if low <= _ROUNDING:
            clips = min(len(controls[name].values(metric.name)) for name in (order[0], order[-1]))
            told = f"{order[0]} is not clearly better than {order[-1]}: by {mean:.3g} [{low:.3g}, {high:.3g}]"
            if mean > _ROUNDING and clips < ENOUGH:
                return Verdict(metric.name, None, f"{told}, and {clips} clips are too few to tell")
            return Verdict(metric.name, False, told)
    return Verdict(metric.name, True)


def _below_ceiling(metric: Metric, controls: Mapping[str, RowScores]) -> Verdict | None:
    """Check that what edits nothing does not look edited; somebody else may look like anything."""
    if metric.ceiling is None:
        return None
    found = {
        name: values
        for name in UNEDITED
        if name in controls and (values := controls[name].values(metric.name))
    }
    if not found:
        return Verdict(metric.name, None, "no control was scored")
    for name, values in found.items():
        mean = sum(values) / len(values)
        if mean > metric.ceiling:
            return Verdict(
                metric.name, False, f"{name} edits nothing and scores {mean:.3g}, above {metric.ceiling:g}"
            )
    return Verdict(metric.name, True)


def _gain(metric: Metric, better: RowScores, worse: RowScores, seed: int) -> tuple[float, float, float]:
    """Return by how much one row beats another on the clips of both: the interval's ends and the mean."""
    first, second = (
        {each.clip.key: value for each in row.clips if (value := each.value(metric.name)) is not None}
        for row in (better, worse)
    )
    sign = 1.0 if metric.higher else -1.0
    gains = [sign * (first[key] - second[key]) for key in first if key in second]
    if not gains:
        return 0.0, 0.0, 0.0
    mean = sum(gains) / len(gains)
    low, high = interval(gains, seed)
    return low, high, mean
