"""Charts as numbers: places of points are computed by hand."""

import pytest

from keyface.dashboard.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    MOST_STEPS,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    Series,
    is_noisy,
    line_chart,
    number,
    smoothed,
    thin,
    trade_off,
)


def test_points_lie_where_their_values_say() -> None:
    chart = line_chart("Loss", "", [Series("all", 3, [(0, 0.0), (50, 0.5), (100, 1.0)])])
    assert chart is not None
    (line,) = chart.lines
    middle = ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)
    assert [(mark.x, mark.y) for mark in line.marks] == [
        (LEFT, HEIGHT - BOTTOM),
        pytest.approx(middle),
        (WIDTH - RIGHT, TOP),
    ]
    assert (line.colour, line.last, line.smooth) == (3, 1.0, None)
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.25", "0.5", "0.75", "1"]
    assert [tick.label for tick in chart.x_ticks] == ["0", "20", "40", "60", "80", "100"]


def test_the_upper_end_of_a_picture_is_the_high_end_of_a_scale() -> None:
    scale = Scale([0.2, 1.9], start=100, end=0, ticks=4)
    assert (scale.low, scale.high) == (0.0, 2.0)
    assert scale(2.0) == 0
    assert scale(0.5) == 75
    flat = Scale([3.0, 3.0], start=0, end=10, ticks=4)
    assert flat(3.0) == pytest.approx(5, abs=2), "a flat line runs through the middle"
    whole = Scale([0, 3], start=0, end=10, ticks=5, exact=True)
    assert [tick.label for tick in whole.ticks] == ["0", "1", "2", "3"]


def test_a_long_curve_is_thinned_by_means() -> None:
    points = [(step, float(step % 4)) for step in range(4 * MOST_POINTS)]
    thinned = thin(points)
    assert len(thinned) == MOST_POINTS
    assert {value for _, value in thinned} == {1.5}, "of 0, 1, 2 and 3"
    assert [step for step, _ in thinned[:2]] == [3, 7]
    assert thin(points[:5]) == points[:5]


def test_smoothing_begins_at_the_first_value() -> None:
    (_, first), (_, second) = smoothed([(0, 4.0), (1, 0.0)])
    assert first == pytest.approx(4.0)
    assert second == pytest.approx((0.85 * 0.15 * 4) / (0.85 * 0.15 + 0.15))


def test_a_pointer_is_told_the_values_of_its_step() -> None:
    many = [(step, step / 1000 + 0.1 * (step % 2)) for step in range(0, 1000, 5)]
    assert not is_noisy([(step, float(step)) for step in range(100)]), "a slope is none"
    chart = line_chart("Loss", "", [Series("a", 0, many), Series("b", 1, [(0, 0.25), (995, 0.5)])])
    assert chart is not None
    assert chart.lines[0].smooth is not None
    assert len(chart.zones) == MOST_STEPS
    assert sum(zone.width for zone in chart.zones) == pytest.approx(WIDTH - LEFT - RIGHT, abs=0.5)
    last = chart.zones[-1]
    assert last.step == 995
    assert [(name, text) for name, _, text, _ in last.values] == [("a", "1.04"), ("b", "0.5")]
    assert [name for name, *_ in chart.zones[20].values] == ["a"], "b has nothing near"


def test_success_against_distance_takes_the_steps_that_have_both() -> None:
    chart = trade_off("t", "", [("run", 1, [(0, 0.1), (2, 0.2), (4, 0.4)], [(0, 0.5), (4, 1.0)])], "distance")
    (line,) = chart.lines
    assert [mark.text for mark in line.marks] == ["run, step 0: 0.5 at 0.1", "run, step 4: 1 at 0.4"]
    right = LEFT + (WIDTH - LEFT - RIGHT) * 0.1 / 0.4
    assert line.marks[0].x == pytest.approx(right, abs=0.01)
    assert line.marks[1].y == TOP


def test_no_point_is_no_chart() -> None:
    assert line_chart("Loss", "", [Series("a", 0, [])]) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1234567.0, "1,234,567"), (0.0020394, "0.00204"), (-31.25, "-31.2")]
)
def test_numbers_for_people(value: float, text: str) -> None:
    assert number(value) == text
