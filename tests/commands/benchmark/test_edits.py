"""`keyface benchmark`, with real processes, tried dry."""

import json
from pathlib import Path

import pytest

from keyface.cli.main import main
from keyface.evaluation.report.speed import read_benchmark

COLUMNS = (
    "mode",
    "frames",
    "seconds_cpu",
    "seconds_wall",
    "peak_mb",
    "identity_distance",
    "edit_success",
    "temporal_loss",
)


def test_the_miniature_is_measured_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "bench.json"
    words = ["--frames", "4", "--modes", "latent", "--dry-run", "-o", str(table)]
    assert main(["benchmark", *words]) == 0
    rows = json.loads(table.read_text())
    assert [(row["mode"], row["frames"]) for row in rows] == [("latent", 4)]
    for row in rows:
        assert tuple(row)[: len(COLUMNS)] == COLUMNS
        assert row["seconds_wall"] >= sum(row[f"seconds_{s}"] for s in ("encode", "invert", "edit", "decode"))
        assert row["peak_mb"] > 100
        assert 0.0 <= row["edit_success"] <= 1.0
        assert -1e-6 <= row["identity_distance"] < 2.0
        assert row["temporal_loss"] > 0.0
    assert table.with_suffix(".png").is_file()
    assert read_benchmark(table) == rows
    assert "identity_distance" in capsys.readouterr().out


def test_stable_diffusions_shapes_are_tried_dry(tmp_path: Path) -> None:
    table = tmp_path / "bench.json"
    words = ["--scale", "sd21", "--dry-run", "--frames", "300", "--modes", "latent", "--guidance", "1"]
    assert main(["benchmark", *words, "--dtype", "bf16", "--channels-last", "-o", str(table)]) == 0
    rows = json.loads(table.read_text())
    assert [row["frames"] for row in rows] == [4], "a dry run is short whatever was asked for"
    assert {row["mode"] for row in rows} == {"latent"}
    assert all(row["edit_success"] is None for row in rows)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--modes", "token"], "unknown mode 'token'"),
        (["--modes", "tokens,tokens"], "tokens is given twice"),
        (["--modes", "tokens:steps=3"], "unknown mode 'tokens:steps=3'"),
        (["--variants", "missing.yaml"], "missing.yaml: no such file"),
        (["--frames", "a"], "whole numbers"),
        (["--frames", "1"], "at least 2 frames"),
        (["--repeats", "0"], "at least 1"),
        (["--edits", ","], "--edits is empty"),
        (["--size", "-1"], "--size -1: at least 16 pixels"),
        (["-o", "."], ".: is a folder; give the name of a file"),
        (["-o", f"{__file__}/rows.json"], f"{__file__}: is a file, where a folder is needed"),
        (["--plot", f"{__file__}/rows.png"], f"{__file__}: is a file, where a folder is needed"),
    ],
)
def test_requests_of_no_use_are_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *words]) == 1
    assert told in capsys.readouterr().err
