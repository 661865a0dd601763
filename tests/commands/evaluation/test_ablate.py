"""`keyface ablate` from its clips to its rows, with two clips of two frames."""

import json
from pathlib import Path

import pytest

from keyface.cli.main import main

KEYS = [
    "variant", "n", "r_at_1", "mrr", "cosine_distance", "edit_success", "gain", "temporal_loss",
    "outside_change", "inside_error",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ablate")
    words = "ablate --identities 2 --frames 2 --distractors 1 --steps 2 --edits glasses,beard"
    assert main([*words.split(), "-o", str(out)]) == 0
    return out


def test_one_row_a_variant_with_every_measure(folder: Path) -> None:
    rows = json.loads((folder / "ablation.json").read_text())
    assert [row["variant"] for row in rows][:2] == ["full", "without identity guidance"]
    assert {"untuned direction", "frame by frame", "untuned"} <= {row["variant"] for row in rows}
    for row in rows:
        assert list(row) == KEYS
        assert row["n"] == 2
        assert 1 / 3 <= row["mrr"] <= 1  # two originals and one other in the gallery
        assert row["outside_change"] >= 0


def test_its_figures_are_those_of_the_report(folder: Path) -> None:
    rows = json.loads((folder / "ablation.json").read_text())
    found = {row["method"]: row for row in json.loads((folder / "results.json").read_text())["rows"]}
    full = found["full"]
    assert rows[0]["temporal_loss"] == full["temporal_loss_masked"]
    assert rows[0]["outside_change"] == full["outside_l1"]
    assert rows[0]["inside_error"] == full["inside_l1"] > 0
    assert found["(rendered)"]["inside_l1"] == 0
    assert rows[0]["gain"] == full["gain"] < 1
    assert found["(source)"]["outside_l1"] == 0
    assert found["full"]["outside_l1"] < found["without composition"]["outside_l1"]
    assert (folder / "sheet.png").stat().st_size > 1000
