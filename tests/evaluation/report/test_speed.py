"""Speed: what is written beside outputs, and a benchmark's table."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.report.speed import measured_speed, read_benchmark
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.control_rows import source
from keyface.evaluation.rows.method import Method


def test_seconds_a_frame_over_all_clips(tmp_path: Path, spec: Callable[..., ClipSpec]) -> None:
    clips = ClipSet("x", 0, "a test", (spec(key="a"), spec(key="b"), spec(key="c")), (), tmp_path)
    for name, content in (
        ("a", {"seconds": {"invert": 1.0, "edit": 2.0}}),
        ("b", {"seconds": {"edit": 5.0}}),
    ):
        (tmp_path / f"{name}.mp4").touch()
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "c.mp4").touch()
    (tmp_path / "c.json").write_text('{"seconds": "many"}')
    ours = Candidate("ours", "method", clips, Method("ours", tmp_path))
    assert measured_speed([ours, source(clips)]) == [
        {"method": "ours", "n": 2, "frames": 8, "seconds_per_frame": 1.0, "frames_per_second": 1.0}
    ]


def test_a_benchmark_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.json"
    path.write_text('[{"method": "ours", "frames": 40, "seconds": 2.5, "note": null}]')
    assert read_benchmark(path) == [{"method": "ours", "frames": 40, "seconds": 2.5, "note": None}]
    for wrong in ("{}", "[3]", "[{}]", '[{"a": [1]}]', "no json", "[" * 100_000):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"benchmark\.json"):
            read_benchmark(path)
