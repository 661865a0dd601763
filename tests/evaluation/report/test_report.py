"""The report: whole files, nothing of an untrusted clip set becomes markup."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from keyface.evaluation.report.report import Report
from keyface.evaluation.report.showcase import Shown
from keyface.evaluation.scoring.calibration import Verdict

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
        points,
        [{"method": HOSTILE, "seconds": 1.5}],
        [{"method": "IP-FaceDiff", "measure": "time", "value": "80 % less", "where": "x", "data": HOSTILE}],
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
    names = ["report.html", "results.json", "results.csv", "table.tex", "frontier.svg"]
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
