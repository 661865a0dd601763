"""Plots of the report, as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keyface.evaluation.report.frontier import DISTANCE, success_name
from keyface.evaluation.scoring.metrics import METRICS, Metric

_COLOURS = {"method": "#1f5fa8", "control": "#8a8a8a", "sweep": "#d0762b"}

_NAMED = 12
"""Where there are more points, those that another beats go without a name."""


def intervals(rows: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]) -> str:
    """Draw one small plot a metric: every row's mean with its 95 % interval, kinds of rows by colour."""
    columns = min(4, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = Figure(figsize=(3.1 * columns + 1.2, (0.28 * len(rows) + 0.9) * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    cells = [cell for line in grid for cell in line]
    for cell, metric in zip(cells, metrics, strict=False):
        _dots(cell, rows, metric)
    for cell in cells[len(metrics) :]:
        cell.set_visible(False)
    return _svg(figure)


def frontier(points: Sequence[Mapping[str, Any]]) -> str:
    """Draw identity against edit success, with the Pareto front drawn through the points that nothing beats.

    Args:
        points: Of `keyface.evaluation.report.frontier.frontier`.
    """
    success = success_name(points)
    distances = [point[DISTANCE] for point in points]
    middle = (min(distances) + max(distances)) / 2
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    for point in points:
        best = point["on_front"]
        axes.plot(
            point[DISTANCE],
            point[success],
            "o" if best else "x",
            color=_COLOURS[point["kind"]],
            markersize=7 if best else 5,
        )
        if best or len(points) <= _NAMED:
            right = point[DISTANCE] > middle
            axes.annotate(
                point["method"], (point[DISTANCE], point[success]),
                xytext=(-6 if right else 6, 4 if best else -10), textcoords="offset points",
                ha="right" if right else "left", fontsize=7, color="#000000" if best else "#777777",
            )  # fmt: skip
    front = sorted((point[DISTANCE], point[success]) for point in points if point["on_front"])
    axes.plot([x for x, _ in front], [y for _, y in front], color="#555555", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"{METRICS[DISTANCE].title}: {METRICS[DISTANCE].meaning} (lower is better)")
    axes.set_ylabel(f"{METRICS[success].title} (higher is better)")
    return _svg(figure)


def _dots(axes: Axes, rows: Sequence[Mapping[str, Any]], metric: Metric) -> None:
    for place, row in enumerate(rows):
        if metric.name not in row:
            continue
        value = row[metric.name]
        low, high = row["intervals"].get(metric.name, (value, value))
        colour = _COLOURS[row["kind"]]
        axes.plot([low, high], [place, place], color=colour, linewidth=2, alpha=0.5)
        axes.plot(value, place, "o", color=colour, markersize=4)
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(f"{metric.title} ({'higher' if metric.higher else 'lower'} is better)", fontsize=8)
    axes.grid(axis="x", linewidth=0.3)


def _svg(figure: Figure) -> str:
    """Return the figure as an SVG element; the same figure gives the same text."""
    text = io.StringIO()
    # Text stays text, so that it can be searched and needs no font of ours.
    with matplotlib.rc_context({"svg.hashsalt": "keyface", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]
