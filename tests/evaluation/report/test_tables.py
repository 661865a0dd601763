"""Figures as CSV and LaTeX."""

import csv
import io
from typing import Any

import pytest

from keyface.evaluation.report.tables import COLUMNS, latex, long_csv, number


def row(method: str = "ours") -> dict[str, Any]:
    return {
        "method": method,
        "kind": "method",
        "n": 3,
        "r_at_1": 0.5,
        "edit_success": 0.25,
        "intervals": {"r_at_1": [0.1, 0.9]},
        "by_recognizer": {"vgg": {"r_at_1": 0.4}},
        "by_category": {
            "glasses": {"n": 2, "r_at_1": 1.0, "intervals": {}, "by_recognizer": {"vgg": {"r_at_1": 0.75}}}
        },
        "missing": [],
        "settings": {},
    }


def test_every_figure_has_a_line() -> None:
    lines = list(csv.DictReader(io.StringIO(long_csv([row()]))))
    assert tuple(lines[0]) == COLUMNS
    found = {(line["category"], line["recognizer"], line["metric"]): line for line in lines}
    assert len(found) == len(lines) == 5
    assert float(found["", "", "r_at_1"]["value"]) == 0.5
    assert (found["", "", "r_at_1"]["low"], found["", "", "r_at_1"]["high"]) == ("0.1", "0.9")
    assert found["glasses", "", "r_at_1"]["n"] == "2"
    assert found["glasses", "vgg", "r_at_1"]["value"] == "0.75"
    assert found["", "vgg", "r_at_1"]["value"] == "0.4"


def test_no_spreadsheet_runs_a_methods_name() -> None:
    assert "\n'=cmd()," in long_csv([row("=cmd()")])


def test_latex_escapes_names_and_marks_what_is_unfit() -> None:
    text = latex([row("a_b & 100%")], ["edit_success"], "Table #1")
    assert r"a\_b \& 100\% & 3 & 0.500 {\scriptsize[0.100, 0.900]} & 0.250 \\" in text
    assert r"edit success $\uparrow$$^\dagger$" in text
    assert r"\caption{Table \#1" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert text.count("&") - text.count(r"\&") == 2 * 3, "both lines have four cells"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0.000"), (0.01234, "0.0123"), (-0.5, "-0.500"), (1.0, "1.000"), (32.04, "32.0")],
)
def test_numbers_for_people(value: float | None, text: str) -> None:
    assert number(value) == text
