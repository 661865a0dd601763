"""Published figures: what the paper's tables say, marked as other data, with notes where they cannot be."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from keyface.evaluation.report.published import by_table, read_published

METHODS = ("DVA", "STIT", "LTFE", "IP-FaceDiff without identity guidance", "IP-FaceDiff")
RECOGNIZERS = ("VGGFace", "CosFace", "FaceNet")

# Typed from Table 1: of each recognizer distance, R@1, MRR, by method.
TABLE_1 = {
    "VGGFace": (
        (0.361, 0.447, 0.506, 0.762, 0.221),
        (0.76, 0.70, 0.64, 0.32, 0.96),
        (0.794, 0.748, 0.662, 0.352, 0.97),
    ),
    "CosFace": (
        (0.318, 0.471, 0.531, 0.722, 0.206),
        (0.76, 0.70, 0.64, 0.34, 0.96),
        (0.794, 0.748, 0.673, 0.396, 0.97),
    ),
    "FaceNet": (
        (0.256, 0.273, 0.488, 0.706, 0.185),
        (0.76, 0.72, 0.66, 0.34, 0.96),
        (0.794, 0.773, 0.683, 0.396, 0.97),
    ),
}
TABLE_2 = {
    "IP-FaceDiff": "6, 15, 32, 98",
    "DVA": "28, 45, 90, 180",
    "STIT": "32, 60, 110, 194",
    "LTFE": "35, 68, 132, 206",
}
TABLE_3 = {"DVA": (0.256, 4.7), "STIT": (0.273, 5.6), "LTFE": (0.463, 3.4), "IP-FaceDiff": (0.238, 7.7)}

QUERIES = 25
IMPOSSIBLE = "with 25 queries R@1 can only be a multiple of .04, which this is not"
EQUAL = "equal under all three recognizers, though the distances differ"


def shipped(table: int) -> dict[tuple[str, str], dict[str, object]]:
    """Figures of one of the paper's tables, by method and measure."""
    place = f"arXiv 2501.07530, Table {table}"
    return {
        (each["method"], each["measure"]): each for each in read_published(None) if each["where"] == place
    }


def values(table: int) -> dict[tuple[str, str], object]:
    return {key: figure["value"] for key, figure in shipped(table).items()}


def test_table_1_is_shipped_as_it_stands() -> None:
    measures = ("identity distance", "R@1", "MRR")
    assert values(1) == {
        (method, f"{measure} ({recognizer})"): value
        for recognizer, lines in TABLE_1.items()
        for measure, line in zip(measures, lines, strict=True)
        for method, value in zip(METHODS, line, strict=True)
    }


def test_tables_2_and_3_are_shipped_as_they_stand() -> None:
    assert values(2) == {
        (method, "minutes to edit 30, 60, 90, 120 s at 10 fps"): minutes
        for method, minutes in TABLE_2.items()
    }
    found = values(3)
    assert len(found) == 2 * len(TABLE_3)
    for method, (loss, opinion) in TABLE_3.items():
        assert found[method, "temporal loss (RAFT)"] == loss
        assert found[method, "mean opinion score, 1 to 10, 50 raters"] == opinion


def test_the_abstracts_figure_and_nothing_else_beside_the_tables() -> None:
    figures = read_published(None)
    assert len(figures) == 1 + 45 + 4 + 8
    assert (figures[0]["value"], figures[0]["where"]) == ("80 % less", "arXiv 2501.07530v1, abstract")


def test_every_published_figure_says_where_it_stands_and_what_it_is_of() -> None:
    for each in read_published(None):
        assert each["where"].startswith("arXiv 2501.07530")
        assert each["data"].startswith("the paper's, not this clip set")
        assert "as above" not in each["data"]


def test_notes_stand_where_a_figure_cannot_be() -> None:
    """Of 25 queries a share is a multiple of 1/25; a method's R@1 and MRR differ with the recognizer."""
    figures = shipped(1)
    equal = {
        method
        for method in METHODS
        if all(
            len({figures[method, f"{measure} ({recognizer})"]["value"] for recognizer in RECOGNIZERS}) == 1
            for measure in ("R@1", "MRR")
        )
    }
    expected = {}
    for (method, measure), figure in figures.items():
        if measure.startswith("R@1") and (Fraction(str(figure["value"])) * QUERIES).denominator != 1:
            expected[method, measure] = IMPOSSIBLE
        elif not measure.startswith("identity distance") and method in equal:
            expected[method, measure] = EQUAL
    assert {key: figure["note"] for key, figure in figures.items() if figure["note"]} == expected
    impossible = {figures[key]["value"] for key, note in expected.items() if note == IMPOSSIBLE}
    assert impossible == {0.70, 0.34, 0.66}
    assert equal == {"DVA", "IP-FaceDiff"}


def test_figures_become_one_table_a_place_with_marks_and_notes() -> None:
    tables = {table.where: table for table in by_table(read_published(None))}
    assert list(tables) == [
        "arXiv 2501.07530v1, abstract",
        *(f"arXiv 2501.07530, Table {n}" for n in (1, 2, 3)),
    ]
    first = tables["arXiv 2501.07530, Table 1"]
    assert first.measures[:2] == ("identity distance (VGGFace)", "R@1 (VGGFace)")
    assert list(first.lines) == list(METHODS)
    assert first.lines["STIT"]["identity distance (VGGFace)"] == "0.447"
    assert first.lines["LTFE"]["R@1 (VGGFace)"] == "0.64"
    marks = {note: "*" * number for number, note in enumerate(first.notes, 1)}
    assert first.lines["STIT"]["R@1 (CosFace)"] == f"0.7{marks[IMPOSSIBLE]}"
    assert first.lines["DVA"]["MRR (FaceNet)"] == f"0.794{marks[EQUAL]}"
    assert "gallery of 35,000 clips" in first.data


def test_a_users_figures_are_added(tmp_path: Path) -> None:
    path = tmp_path / "table1.json"
    figure = {"method": "A", "measure": "R@1", "value": 0.5, "where": "Table 1", "data": "CelebV-HQ"}
    path.write_text(json.dumps([figure, figure | {"value": 0.6, "note": "by hand"}]))
    assert read_published(str(path))[-2:] == [
        figure | {"note": ""},
        figure | {"value": 0.6, "note": "by hand"},
    ]
    assert len(read_published(str(path))) == len(read_published(None)) + 2
    (table,) = [each for each in by_table(read_published(str(path))) if each.where == "Table 1"]
    assert table.lines["A"]["R@1"] == "0.5; 0.6*", "two figures of one place are both shown"


def test_they_can_be_turned_off() -> None:
    assert read_published("none") == []


@pytest.mark.parametrize(
    "content",
    ["{}", "[3]", '[{"method": "A"}]', "[" * 100_000, "no json", '[{"method":"A","measure":"R","value":NaN,'
     '"where":"T","data":"D"}]', '[{"method":"A","measure":"R","value":[1],"where":"T","data":"D"}]'],
)  # fmt: skip
def test_wrong_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table1.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"table1\.json"):
        read_published(str(path))
