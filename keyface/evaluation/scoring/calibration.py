"""Are the metrics fit to order methods? They must order rows whose order is known.

A step between neighbouring controls counts as wrong where the 95 % interval of the paired differences lies
wholly on the wrong side; the first control must be better than the last with the interval wholly on the right
side. A control that edits nothing may not reach the score of an edit. A fault that a metric is there to see
must cost it, with the interval wholly on the right side.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from keyface.evaluation.rows.controls import UNEDITED
from keyface.evaluation.scoring.metrics import METRICS, Metric
from keyface.evaluation.scoring.orderings import ROUNDING, Lead, compare, controls_of, lead
from keyface.evaluation.scoring.row_scores import RowScores

ENOUGH = 10
"""With fewer clips a metric that points the right way is not called unfit for want of certainty."""


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
    controls = controls_of(rows)
    measured = [each for each in METRICS.values() if any(row.values(each.name) for row in rows)]
    return [_verdict(metric, controls, seed) for metric in measured]


def _verdict(metric: Metric, controls: Mapping[str, RowScores], seed: int) -> Verdict:
    """Return the first check that failed, else the first that is in doubt, else that the metric is fit."""
    checks = (
        _below_ceiling(metric, controls),
        _in_order(metric, controls, seed),
        *_faults(metric, controls, seed),
    )
    found = [verdict for verdict in checks if verdict is not None]
    if not found:
        return Verdict(metric.name, None, "too few controls were scored to tell")
    return min(found, key=lambda verdict: (False, None, True).index(verdict.fit))


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


def _in_order(metric: Metric, controls: Mapping[str, RowScores], seed: int) -> Verdict | None:
    """Check the metric's own order of controls; None where too few of them were scored."""
    order = [name for name in metric.order if name in controls and controls[name].values(metric.name)]
    if len(order) < 2 or (metric.ends_differ and order[-1] != metric.order[-1]):
        return None
    for better, worse in pairwise(order):
        step = lead(metric, controls[better], controls[worse], seed)
        if step is not None and step.high < -ROUNDING:
            told = f"by {-step.mean:.3g} [{-step.high:.3g}, {-step.low:.3g}]"
            return Verdict(metric.name, False, f"{worse} scores better than {better} {told}")
    if not metric.ends_differ:
        return Verdict(metric.name, True)
    return _clearly(metric, order[0], order[-1], lead(metric, controls[order[0]], controls[order[-1]], seed))


def _faults(metric: Metric, controls: Mapping[str, RowScores], seed: int) -> Iterator[Verdict]:
    """Check each fault that the metric is there to see."""
    for name in metric.sees:
        found = compare(metric, name, controls, seed)
        if found is not None:
            yield _clearly(metric, found.better, name, found.lead)


def _clearly(metric: Metric, better: str, worse: str, found: Lead | None) -> Verdict:
    """Check that one control beats another beyond doubt."""
    if found is None:
        return Verdict(metric.name, None, f"{better} and {worse} have no clip in common")
    if found.low > ROUNDING:
        return Verdict(metric.name, True)
    by = f"{found.mean:.3g} [{found.low:.3g}, {found.high:.3g}]"
    told = f"{better} is not clearly better than {worse}: by {by}"
    if found.mean > ROUNDING and found.n < ENOUGH:
        return Verdict(metric.name, None, f"{told}, and {found.n} clips are too few to tell")
    return Verdict(metric.name, False, told)
