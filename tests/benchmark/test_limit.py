"""The bound that arithmetic sets: counted by hand, and by torch's own counter."""

import json
from pathlib import Path

import pytest

from keyface.benchmark.gpu.correctness import settings_of
from keyface.benchmark.limit.arithmetic import Counts, Prices, count_work, prices
from keyface.benchmark.limit.rows import Speed, rows_of
from keyface.cli.main import main
from keyface.editing.settings import EditSettings


def test_a_frame_costs_what_was_counted_before() -> None:
    """By a script for an H100: a forward of one image at 64 x 64 is .804 TFLOP."""
    found = prices()
    assert found.unet == pytest.approx(0.804e12, rel=0.01)
    without = found.unet - sum(found.products.values()) - sum(found.scores.values())
    assert without == pytest.approx(0.631e12, rel=0.01), "of a frame whose self-attention is given"
    # Of 10 images that attend to each other each has ten times the scores.
    assert found.unet + 9 * sum(found.scores.values()) == pytest.approx(1.907e12, rel=0.01)
    assert found.decode > found.encode > 1e12


def test_work_is_priced_by_hand() -> None:
    price = Prices(100.0, {"a": 10.0}, {"a": 20.0}, 7.0, 11.0)
    plain = Counts(images=3, products={"a": 3.0}, scores={"a": 3.0})
    assert price.of(plain) == 300.0
    joint = Counts(images=3, products={"a": 3.0}, scores={"a": 9.0}, encoded=2, decoded=1)
    assert price.of(joint) == 300.0 + 6 * 20.0 + 2 * 7.0 + 11.0
    given = Counts(images=3)
    assert price.of(given) == 3 * (100.0 - 10.0 - 20.0)


def test_each_stage_counts_what_it_computes() -> None:
    """The inversion is plain; in the edit keyframes attend to each other."""
    settings = settings_of("latent", EditSettings(steps=2, interval=2))
    found = count_work(settings, 4)
    assert {"encode", "invert", "reconstruct", "edit", "decode"} <= found.keys()
    assert found["encode"].encoded == 4
    assert found["decode"].decoded >= 4
    edit = found["edit"]
    assert max(edit.scores.values()) > edit.images, "keyframes attend to each other"
    plain = found["invert"]
    for name in plain.products:
        assert plain.products[name] == pytest.approx(plain.images)
        assert plain.scores[name] == pytest.approx(plain.images)


def test_rows_stand_beside_what_was_measured(tmp_path: Path) -> None:
    clip = {"mode": "latent", "frames": 8, "steps": 2, "solver": "ddim", "seconds": 6.0, "seconds_edit": 4.0}
    found = {"machine": {"tflops_bf16": 100.0, "device": "a card"}, "clip latent, short": clip}
    (tmp_path / "gpu.json").write_text(json.dumps(found))
    speed = Speed.measured(tmp_path)
    assert speed.tflops == 100.0
    assert speed.clip("latent", 8, 3, "ddim") is None
    edit, decode, whole = rows_of(
        "latent", {"edit": 2e14, "decode": 1e14}, 100.0, speed.clip("latent", 8, 2, "ddim")
    )
    assert (edit["bound"], edit["seconds"], edit["tflops"], edit["share"]) == (2.0, 4.0, 50.0, 0.5)
    assert decode["seconds"] is None
    assert (whole["stage"], whole["bound"], whole["share"]) == ("all", 3.0, 0.5)


def test_the_command_prints_a_row_a_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--modes", "latent", "--frames", "4", "--steps", "2", "--tflops", "100", "--json"]
    assert main(["benchmark", "limit", *words]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[-1]["stage"] == "all"
    assert rows[-1]["pflop"] == pytest.approx(sum(row["pflop"] for row in rows[:-1]), abs=1e-3)
    assert main(["benchmark", "limit", "--measured", str(tmp_path)]) == 1
    assert "keyface benchmark gpu" in capsys.readouterr().err
