"""`keyface benchmark watermark`: a table of what was found."""

import json
from pathlib import Path

import pytest
import torch

from keyface.benchmark.watermark import ATTACKS, psnr_where_written
from keyface.cli.main import main


def test_rows_of_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", "watermark", "--clips", "1", "--unmarked", "2", "--size", "128", "--seconds", "1.2"]
    output = tmp_path / "rows.json"
    assert main([*words, "--edits", "gray-hair", "--output", str(output)]) == 0
    assert "PSNR of what is added, where it is added: 40." in capsys.readouterr().out
    rows = {row["after"]: row for row in json.loads(output.read_text())}
    assert list(rows) == [*ATTACKS, "not marked"]
    assert rows["not marked"]["clips"] == 2
    assert rows["not marked"]["found"] == 0
    assert main(["benchmark", "watermark", "--videos", str(tmp_path / "nowhere.mp4")]) == 1
    assert "nowhere.mp4: no such file" in capsys.readouterr().err
    assert main(["benchmark", "watermark", "--seconds", "0.1"]) == 1


def test_psnr_counts_the_changed_pixels_alone() -> None:
    before = torch.zeros(1, 3, 4, 4)
    after = before.clone()
    after[0, :, 0, 0] += 10 / 127.5
    assert psnr_where_written(before, after) == pytest.approx(28.13, abs=0.01)  # 20 log10(255 / 10)
    assert psnr_where_written(before, before) == float("inf")
