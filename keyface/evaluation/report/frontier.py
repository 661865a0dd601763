"""The frontier: identity against edit success, since identity alone rewards doing nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

DISTANCE, SUCCESS = "cosine_distance", "edit_success"
FALLBACK = "direction_similarity"
"""Takes the place of edit success where there is no classifier for it."""


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell which points no other point beats.

    Args:
        points: (cost, gain) each: the first is better lower, the second higher.

    Returns:
        One bool a point: false where another point is at least as good in both and better in one.
    """
    return [
        not any(
            cost <= own_cost and gain >= own_gain and (cost < own_cost or gain > own_gain)
            for cost, gain in points
        )
        for own_cost, own_gain in points
    ]


def frontier(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of identity against edit success, one a row that has both.

    Args:
        rows: Of `keyface.evaluation.scoring.summary.summarize`; controls are left out, for they are no edits.

    Returns:
        `method`, `n`, `cosine_distance`, the success metric under its own name, and `on_front`.
    """
    edited = [row for row in rows if row["kind"] != "control" and DISTANCE in row]
    success = SUCCESS if any(SUCCESS in row for row in edited) else FALLBACK
    edited = [row for row in edited if success in row]
    front = pareto([(row[DISTANCE], row[success]) for row in edited])
    return [
        {name: row[name] for name in ("method", "kind", "n", DISTANCE, success)} | {"on_front": best}
        for row, best in zip(edited, front, strict=True)
    ]


def success_name(points: Sequence[Mapping[str, Any]]) -> str:
    """Return the metric that `frontier` took for edit success."""
    return SUCCESS if not points or SUCCESS in points[0] else FALLBACK
