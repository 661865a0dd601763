"""The report: whole files, nothing of an untrusted clip set becomes markup."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from keyface.evaluation.report.report import Report
from keyface.evaluation.report.showcase import Shown
from keyface.evaluation.scoring.calibration import Verdict
from keyface.evaluation.scoring.orderings import Lead, Ordering

HOSTILE = "<script>alert(1)</script>"


def row(method: str, kind: str, **more: Any) -> dict[str, Any]:
    found = {"r_at_1": 0.5, "cosine_distance": 0.2, "edit_success": 0.7} | more
    by = {HOSTILE: {"n": 2, **found, "intervals": {}, "by_recognizer": {}}}
    return {
        "method": method, "kind": kind, "n": 3, **found, "intervals": {"r_at_1": [0.1, 0.9]},
        "by_recognizer": {"vgg": {"r_at_1": 0.5}}, "by_category": by, "missing": [HOSTILE], "settings": {},
    }  # fmt: skip


@pytest.fixture
def report() -> Report:
    clips = {
        "name": HOSTILE, "seed": 0, "made_by": HOSTILE, "digest": "ab" * 32, "edited": 3, "gallery": 5
    }  # fmt: skip
    rows = [row("(source)", "control"), row("ours", "method"), row("strength 0.5", "sweep")]
    points = [
        {
            "method": HOSTILE,
            "kind": "sweep",
            "n": 3,
            "cosine_distance": 0.2,
            "edit_success": 0.7,
            "on_front": True,
        }
    ]
    return Report(
        {"clips": clips},
        rows,
        [Verdict("r_at_1", True), Verdict("edit_success", False, f"{HOSTILE} scores better")],
        [
            Ordering("r_at_1", "(another person)", "(rendered)", "ordered", Lead(0.9, 0.8, 1.0, 3)),
            Ordering("r_at_1", "(lazy edit)", "(rendered)", "reversed", Lead(-0.2, -0.3, -0.1, 3)),
            Ordering("edit_success", "(lazy edit)", "(rendered)", "unseen", Lead(0.0, 0.0, 0.0, 2)),
            Ordering("edit_success", "(autoencoder)", "(source)", "unclear", Lead(0.1, -0.1, 0.3, 3)),
        ],
        points,
        [{"method": HOSTILE, "seconds": 1.5}],
        [
            {
                "method": "IP-FaceDiff",
                "measure": "time",
                "value": "80 % less",
                "where": "x",
                "data": HOSTILE,
                "note": HOSTILE,
            }
        ],
        [Shown(HOSTILE, ("source", HOSTILE), "data:video/mp4;base64,AAAA")],
        [HOSTILE],
    )


def test_nothing_of_a_clip_set_becomes_markup(report: Report) -> None:
    text = report.html()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 8
    assert "default-src 'none'" in text


def test_sweep_points_are_in_the_frontier_and_not_in_the_table(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path)
    table = (tmp_path / "table.tex").read_text()
    assert "ours & 3" in table
    assert "strength" not in table
    assert "strength 0.5" in (tmp_path / "results.csv").read_text()


def test_unfit_metrics_are_marked_and_explained(report: Report) -> None:
    assert report.unfit == ("edit_success",)
    text = report.html()
    assert "edit success ↑ †" in text
    assert "R@1 ↑</th>" in text
    assert "scores better" in text


def test_everything_is_written_whole_and_the_same_each_time(report: Report, tmp_path: Path) -> None:
    files = report.write(tmp_path)
    names = ["report.html", "results.json", "results.csv", "table.tex", "controls.md", "frontier.svg"]
    assert [file.name for file in files] == names
    first = {file: file.read_bytes() for file in files}
    report.write(tmp_path)
    assert {file: file.read_bytes() for file in files} == first
    assert len(list(tmp_path.iterdir())) == len(names)
    drawing = first[tmp_path / "frontier.svg"].decode()
    assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
    assert "<script" not in drawing
    content = json.loads(first[tmp_path / "results.json"])
    assert content["rows"][1]["method"] == "ours"
    assert content["calibration"][1]["fit"] is False
    assert content["controls"][1]["outcome"] == "reversed"
    assert content["controls"][1]["lead"] == {"mean": -0.2, "low": -0.3, "high": -0.1, "n": 3}


def test_the_table_of_metrics_and_controls_as_markdown(report: Report) -> None:
    lines = report.controls().splitlines()
    assert lines[:4] == [
        "| Measure | autoencoder | lazy edit | another person | fit |",
        "| --- | --- | --- | --- | --- |",
        "| R@1 | - | reversed | yes | fit |",
        "| edit success | ? | no | - | unfit |",
    ]
    assert lines[5].startswith("n = 2 to 3 clips, 95 % bootstrap intervals")
    assert lines[5].endswith("Compared: autoencoder with source; lazy edit, another person with rendered.")
    assert "**reversed**: better than the row it is compared with" in lines[6]


def test_the_table_of_metrics_and_controls_on_the_page(report: Report) -> None:
    text = report.html()
    assert '(lazy edit)<span class="interval">against (rendered)</span>' in text
    assert '<td class="reversed">reversed<span class="interval">-0.200, -0.300 to -0.100</span></td>' in text


def test_nothing_scored_is_said(tmp_path: Path) -> None:
    clips = {"name": "few", "seed": 0, "digest": "ab" * 32, "edited": 1, "gallery": 1}
    empty = Report({"clips": clips}, [row("ours", "method")], [])
    assert empty.controls() == "No control was scored.\n"
    assert "Which metrics put" not in empty.html()
    assert "Published figures" not in empty.html()
