"""Are the metrics fit to order methods? They must order rows whose order is known.

A step between neighbouring controls counts as wrong where the 95 % interval of the paired differences lies
wholly on the wrong side; the first control must be better than the last with the interval wholly on the right
side. A control that edits nothing may not reach the score of an edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from keyface.evaluation.scoring.metrics import MEASURES, UNEDITED, Measure
from keyface.evaluation.scoring.summary import RowScores, interval

ENOUGH = 10
"""With fewer clips a metric that points the right way is not called unfit for want of certainty."""

_ROUNDING = 1e-6
"""Differences below this are no differences."""


@dataclass(frozen=True)
class Verdict:
    """Whether a metric ordered the controls.

    Attributes:
        measure: The metric's name.
        fit: Whether it did; None where too few controls were scored to tell.
        reason: What it did wrong, or why nobody can tell; empty where it is fit.
    """

    measure: str
    fit: bool | None
    reason: str = ""


def calibrate(rows: Sequence[RowScores], seed: int) -> list[Verdict]:
    """Judge every metric that was measured, in the order of the report.

    Args:
        rows: All rows; only controls are looked at.
        seed: Of the bootstrap.
    """
    controls = {row.candidate.name: row for row in rows if row.candidate.kind == "control"}
    measured = [each for each in MEASURES.values() if any(row.values(each.name) for row in rows)]
    return [_judge(measure, controls, seed) for measure in measured]


def _judge(measure: Measure, controls: Mapping[str, RowScores], seed: int) -> Verdict:
    verdict = _below_ceiling(measure, controls)
    if verdict is not None and verdict.fit is not True:
        return verdict
    order = [name for name in measure.order if name in controls and controls[name].values(measure.name)]
    if len(order) < 2 or (measure.ends_differ and order[-1] != measure.order[-1]):
        return verdict or Verdict(measure.name, None, "too few controls were scored to tell")
    for better, worse in pairwise(order):
        low, high, mean = _gain(measure, controls[better], controls[worse], seed)
        if high < -_ROUNDING:
            return Verdict(
                measure.name,
                False,
                f"{worse} scores better than {better} by {-mean:.3g} [{-high:.3g}, {-low:.3g}]",
            )
    if measure.ends_differ:
        low, high, mean = _gain(measure, controls[order[0]], controls[order[-1]], seed)
        if low <= _ROUNDING:
            clips = min(len(controls[name].values(measure.name)) for name in (order[0], order[-1]))
            told = f"{order[0]} is not clearly better than {order[-1]}: by {mean:.3g} [{low:.3g}, {high:.3g}]"
            if mean > _ROUNDING and clips < ENOUGH:
                return Verdict(measure.name, None, f"{told}, and {clips} clips are too few to tell")
            return Verdict(measure.name, False, told)
    return Verdict(measure.name, True)


def _below_ceiling(measure: Measure, controls: Mapping[str, RowScores]) -> Verdict | None:
    """What edits nothing may not look edited; somebody else may look like anything."""
    if measure.ceiling is None:
        return None
    found = {
        name: values
        for name in UNEDITED
        if name in controls and (values := controls[name].values(measure.name))
    }
    if not found:
        return Verdict(measure.name, None, "no control was scored")
    for name, values in found.items():
        mean = sum(values) / len(values)
        if mean > measure.ceiling:
            return Verdict(
                measure.name, False, f"{name} edits nothing and scores {mean:.3g}, above {measure.ceiling:g}"
            )
    return Verdict(measure.name, True)


def _gain(measure: Measure, better: RowScores, worse: RowScores, seed: int) -> tuple[float, float, float]:
    """By how much one row beats another on the clips of both: the interval's ends and the mean."""
    first, second = (
        {each.clip.key: value for each in row.clips if (value := each.value(measure.name)) is not None}
        for row in (better, worse)
    )
    sign = 1.0 if measure.higher else -1.0
    gains = [sign * (first[key] - second[key]) for key in first if key in second]
    if not gains:
        return 0.0, 0.0, 0.0
    mean = sum(gains) / len(gains)
    low, high = interval(gains, seed)
    return low, high, mean
