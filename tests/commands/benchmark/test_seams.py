"""`keyface benchmark seams`: the frames where a clip was split, against all others."""

import json
from pathlib import Path

import pytest
import torch

from keyface.benchmark.seams import compare_seams
from keyface.cli.main import main

FEW = ["--steps", "2", "--device", "cpu", "--settings.interval", "4", "--settings.window", "2"]


def test_a_jump_at_a_seam_is_seen_and_one_elsewhere_is_not_blamed_on_it() -> None:
    random = torch.Generator().manual_seed(0)
    source = torch.rand(9, 3, 4, 4, generator=random)
    edited = source + 0.02 * torch.arange(9).view(-1, 1, 1, 1)
    edited[5:] += 0.2
    seen = compare_seams(source, edited, [5])
    assert seen["median"] == pytest.approx(0.01, abs=1e-5)
    assert seen["largest"] == seen["at_seam"] == pytest.approx(0.11, abs=1e-5)
    assert seen["ratio"] == pytest.approx(11, abs=0.01)
    elsewhere = compare_seams(source, edited, [3, 7])
    assert elsewhere["ratio"] == pytest.approx(1, abs=1e-3)
    assert elsewhere["largest"] == seen["largest"]


def test_the_command_edits_on_one_device_and_on_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["benchmark", "seams", "--frames", "17", *FEW, "-o", str(tmp_path / "seams.json")]
    assert main(words) == 0
    one, two = json.loads((tmp_path / "seams.json").read_text())
    assert (one["devices"], two["devices"]) == (1, 2)
    assert 0 < two["median"] <= two["largest"]
    assert two["at_seam"] <= two["largest"]
    assert one != {**two, "devices": 1}, "they are edits of their own"
    assert "at_seam" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--devices", "1"], "it is 2 at least"), (["--frames", "8", *FEW], "too few for 2 devices")],
)
def test_what_has_no_seam_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "seams", *words]) == 1
    assert said in capsys.readouterr().err
