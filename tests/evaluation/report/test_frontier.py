"""The Pareto front, by hand."""

from typing import Any

from keyface.evaluation.report.frontier import frontier, pareto, success_name


def test_the_front_of_five_points_by_hand() -> None:
    points = [(0.1, 0.2), (0.2, 0.6), (0.3, 0.5), (0.4, 0.9), (0.4, 0.8)]
    assert pareto(points) == [True, True, False, True, False]


def test_equal_points_are_both_on_the_front() -> None:
    assert pareto([(0.1, 0.5), (0.1, 0.5), (0.1, 0.4)]) == [True, True, False]


def row(method: str, distance: float, **more: Any) -> dict[str, Any]:
    return {"method": method, "kind": "sweep", "n": 3, "cosine_distance": distance, **more}


def test_controls_are_no_points_though_they_keep_the_person_best() -> None:
    rows = [
        row("(source)", 0.0, edit_success=0.9) | {"kind": "control"},
        row("a", 0.2, edit_success=0.9),
        row("b", 0.3, edit_success=0.8),
        row("c", 0.1, edit_success=0.1),
    ]
    points = frontier(rows)
    assert [(point["method"], point["on_front"]) for point in points] == [
        ("a", True),
        ("b", False),
        ("c", True),
    ]


def test_direction_takes_the_place_of_edit_success() -> None:
    points = frontier([row("a", 0.2, direction_similarity=0.3), row("b", 0.2, direction_similarity=0.1)])
    assert success_name(points) == "direction_similarity"
    assert [point["on_front"] for point in points] == [True, False]
