"""One row a method: means over clips with intervals, by recognizer and by category, and what is missing."""

from collections.abc import Iterable, Sequence
from typing import Any

from keyface.evaluation.scoring.metrics import Metric, present, split
from keyface.evaluation.scoring.row_scores import RowScores
from keyface.metrics.intervals import bootstrap_interval


def summarize(row: RowScores, seed: int) -> dict[str, Any]:
    """Return one row of the table, as JSON takes it.

    Args:
        row: What was scored.
        seed: Of the bootstrap.

    Returns:
        `method`, `kind`, `n`, every metric (mean over clips, and over recognizers where there are several),
        `intervals` (95 %, percentile bootstrap over clips), `by_recognizer`, `by_category`, `missing`,
        `settings`. Metrics that were not measured are absent.
    """
    metrics = present(key for clip in row.clips for key in clip.values)
    categories = dict.fromkeys(clip.clip.category for clip in row.clips)
    return {
        "method": row.candidate.name,
        "kind": row.candidate.kind,
        "n": len(row.clips),
        **_means(row, metrics),
        "intervals": _intervals(row, metrics, seed),
        "by_recognizer": _by_recognizer(row, metrics),
        "by_category": {
            str(category): {
                "n": sum(clip.clip.category == category for clip in row.clips),
                **_means(row, metrics, category),
                "intervals": _intervals(row, metrics, seed, category),
                "by_recognizer": _by_recognizer(row, metrics, category),
            }
            for category in categories
        },
        "missing": list(row.missing),
        "settings": dict(row.candidate.settings),
    }


def _means(
    row: RowScores, metrics: Iterable[Metric], category: str | None = None, recognizer: str | None = None
) -> dict[str, float]:
    found = {each.name: row.values(each.name, category, recognizer) for each in metrics}
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def _by_recognizer(
    row: RowScores, metrics: Iterable[Metric], category: str | None = None
) -> dict[str, dict[str, float]]:
    judged = [metric for metric in metrics if metric.by_recognizer]
    keys = dict.fromkeys(key for clip in row.clips for key in clip.values)
    names = dict.fromkeys(name for key in keys if (name := split(key)[1]) is not None)
    return {name: _means(row, judged, category, name) for name in names}


def _intervals(
    row: RowScores, metrics: Iterable[Metric], seed: int, category: str | None = None
) -> dict[str, list[float]]:
    """Return a row's intervals; one clip alone has none."""
    found = {each.name: row.values(each.name, category) for each in metrics}
    return {name: list(interval(values, seed)) for name, values in found.items() if len(values) > 1}


def interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """Return the ends of the mean's 95 % interval; of one value, that value twice."""
    found = bootstrap_interval(values, seed)
    return found.mean if found.low is None else found.low, found.mean if found.high is None else found.high
