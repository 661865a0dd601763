"""Line charts and paths as plain data in a picture's coordinates, for the page's SVG."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from keyface.dashboard.runs import Curve

WIDTH, HEIGHT = 380, 190
"""Of a chart, in units of its own; the page scales it."""

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 22
"""Room for labels."""

MOST_POINTS = 160
"""Of a line; longer curves are drawn by the means of as many groups."""

MOST_STEPS = 40
"""Places of a chart at which values are shown when a pointer is there."""

SMOOTHED_FROM = 25
"""Noisy curves of so many points get a smoothed line on top."""

NOISY_FROM = 0.3
"""A curve that turns at so many of its points, as a fraction, is noisy."""

_SMOOTHING = 0.85


class Tick(NamedTuple):
    """A place on an axis and what stands there."""

    place: float
    label: str


class Mark(NamedTuple):
    """A point of a line, with what a pointer there is told."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: For the legend.
        colour: Number of its colour.
        path: SVG path data.
        smooth: Of the smoothed line; None where the line is drawn as it is.
        marks: Points, where there are few.
        last: The newest value.
    """

    name: str
    colour: int
    path: str
    smooth: str | None
    marks: tuple[Mark, ...]
    last: float


class Zone(NamedTuple):
    """A part of a chart's width that tells the values at one step.

    Attributes:
        left: Where it begins.
        width: How wide it is.
        x: The step's own place.
        step: The step.
        values: Name, colour, value as text, and its height in the chart, a line of the chart each.
    """

    left: float
    width: float
    x: float
    step: int
    values: tuple[tuple[str, int, str, float], ...]


@dataclass(frozen=True)
class Chart:
    """A chart that is ready to be drawn.

    Attributes:
        title: What is shown.
        note: What it means.
        lines: The lines, or the paths of a scatter.
        x_ticks: Along the lower edge.
        y_ticks: Along the left edge.
        zones: What a pointer is told; empty for a scatter, whose marks tell it.
        x_title: Of the lower axis; steps where it is empty.
    """

    title: str
    note: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zones: tuple[Zone, ...] = ()
    x_title: str = ""


class Series(NamedTuple):
    """A curve to draw."""

    name: str
    colour: int
    points: Curve


class Scale:
    """From values to places in a picture.

    Args:
        values: All that must be seen; at least one.
        start: Place of the low end.
        end: Place of the high end.
        ticks: About so many.
        exact: End where the values do and not at a tick, and have whole numbers at the ticks.
    """

    def __init__(
        self, values: Sequence[float], start: float, end: float, ticks: int, exact: bool = False
    ) -> None:
        low, high = min(values), max(values)
        if low == high:  # a flat line runs through the middle
            low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
        locator = MaxNLocator(nbins=ticks, steps=[1, 2, 2.5, 5, 10], integer=exact)
        found = [float(value) for value in locator.tick_values(low, high)]
        if not exact:
            low, high = min(found[0], low), max(found[-1], high)
        self.low, self.high, self.start, self.end = low, high, start, end
        self.ticks = tuple(Tick(self(value), number(value)) for value in found if low <= value <= high)

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 2)


def line_chart(title: str, note: str, series: Sequence[Series]) -> Chart | None:
    """Return the chart of some curves over steps; None where they have no point."""
    series = [each for each in series if each.points]
    if not series:
        return None
    thinned = [thin(each.points) for each in series]
    steps = [step for points in thinned for step, _ in points]
    x = Scale(steps, LEFT, WIDTH - RIGHT, 5, exact=True)
    y = Scale([value for points in thinned for _, value in points], HEIGHT - BOTTOM, TOP, 4)
    lines = []
    for each, points in zip(series, thinned, strict=True):
        smooth = path(smoothed(points), x, y) if is_noisy(points) else None
        marks = tuple(Mark(x(step), y(value), "") for step, value in points) if len(points) <= 12 else ()
        lines.append(Line(each.name, each.colour, path(points, x, y), smooth, marks, each.points[-1][1]))
    return Chart(title, note, tuple(lines), x.ticks, y.ticks, _zones(series, thinned, x, y))


def trade_off(title: str, note: str, runs: Sequence[tuple[str, int, Curve, Curve]], x_title: str) -> Chart:
    """Return how two measures went together, a path through the steps for each run.

    Args:
        title: Of the chart.
        note: What it means.
        runs: Name, colour, the curve to the right and the curve upwards; steps that both have are drawn.
        x_title: Of the lower axis.
    """
    both = []
    for name, colour, right, upwards in runs:
        heights = dict(upwards)
        both.append(
            (name, colour, [(step, value, heights[step]) for step, value in right if step in heights])
        )
    x = Scale([0.0, *(value for _, _, points in both for _, value, _ in points)], LEFT, WIDTH - RIGHT, 6)
    y = Scale([0.0, *(value for _, _, points in both for _, _, value in points)], HEIGHT - BOTTOM, TOP, 4)
    lines = tuple(
        Line(
            name,
            colour,
            "M" + "L".join(f"{x(right)} {y(up)}" for _, right, up in points),
            None,
            tuple(
                Mark(x(right), y(up), f"{name}, step {step}: {number(up)} at {number(right)}")
                for step, right, up in points
            ),
            points[-1][2],
        )
        for name, colour, points in both
        if points
    )
    return Chart(title, note, lines, x.ticks, y.ticks, x_title=x_title)


def thin(points: Curve, most: int = MOST_POINTS) -> Curve:
    """Return a curve of at most so many points, each the mean of as many neighbours."""
    if len(points) <= most:
        return points
    edges = [len(points) * place // most for place in range(most + 1)]
    groups = [points[first:last] for first, last in itertools.pairwise(edges)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def is_noisy(points: Curve) -> bool:
    """Tell whether a curve goes up and down so often that its course is better seen smoothed."""
    if len(points) < SMOOTHED_FROM:
        return False
    changes = [after - before for (_, before), (_, after) in itertools.pairwise(points)]
    turns = sum(before * after < 0 for before, after in itertools.pairwise(changes))
    return turns >= NOISY_FROM * len(points)


def smoothed(points: Curve) -> Curve:
    """Return the curve's exponential moving average, without its pull to zero at the start."""
    mean, weight, found = 0.0, 0.0, []
    for step, value in points:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        found.append((step, mean / weight))
    return found


def path(points: Curve, x: Scale, y: Scale) -> str:
    """Return SVG path data through the points."""
    return "M" + "L".join(f"{x(step)} {y(value)}" for step, value in points)


def number(value: float) -> str:
    """Write a figure for people: three digits that count, two of small ones, large ones whole.

    Example:
        >>> [number(value) for value in (0.0, 0.0001234, 0.0123, 32.04, 12345.6)]
        ['0', '0.00012', '0.0123', '32', '12,346']
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2g}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"


def _zones(series: Sequence[Series], thinned: Sequence[Curve], x: Scale, y: Scale) -> tuple[Zone, ...]:
    """Divide the width among the steps of the longest curves, so many that a pointer can hit them."""
    steps = sorted({step for points in thinned for step, _ in points})
    if len(steps) > MOST_STEPS:
        steps = [steps[(len(steps) - 1) * place // (MOST_STEPS - 1)] for place in range(MOST_STEPS)]
    edges = [LEFT, *((x(a) + x(b)) / 2 for a, b in itertools.pairwise(steps)), WIDTH - RIGHT]
    zones = []
    for place, step in enumerate(steps):
        values = []
        for each, points in zip(series, thinned, strict=True):
            near = min(points, key=lambda point: abs(point[0] - step))
            if abs(x(near[0]) - x(step)) <= (WIDTH - LEFT - RIGHT) / MOST_STEPS:
                values.append((each.name, each.colour, number(near[1]), y(near[1])))
        left = round(edges[place], 2)
        zones.append(Zone(left, round(edges[place + 1] - left, 2), x(step), step, tuple(values)))
    return tuple(zones)
