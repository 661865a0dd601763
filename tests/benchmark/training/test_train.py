"""`keyface benchmark train`, with real processes on the miniature."""

import json
from pathlib import Path

import pytest
import torch

from keyface.benchmark.training.networks import IResNet100
from keyface.benchmark.training.request import TrainRequest
from keyface.benchmark.training.runner import row_of
from keyface.cli.main import main

REQUEST = TrainRequest("identity", "full", "miniature", batch_size=8, size=128, steps=2, device="cpu")
RUN = {
    "seconds_cpu": 5.0,
    "seconds_wall": 4.0,
    "peak_mb": 100.0,
    "peak_gpu_mb": None,
    "seconds_unet": 2.0,
    "seconds_decoder": 1.0,
    "seconds_judge": 0.75,
    "seconds_optimizer": 0.25,
    "trained": 7,
    "device": "cpu",
}


@pytest.mark.parametrize("branch", ["identity", "direction"])
def test_a_step_and_its_parts_are_measured(
    branch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "train.json"
    words = ["--branches", branch, "--tunings", "lora", "--batch-size", "1", "--steps", "1", "--repeats", "1"]
    assert main(["benchmark", "train", *words, "--size", "64", "-o", str(table)]) == 0
    (row,) = json.loads(table.read_text())
    assert (row["branch"], row["tuning"], row["trained"]) == (branch, "lora", 222_208)
    parts = [row[f"seconds_{name}"] for name in ("unet", "decoder", "judge", "optimizer")]
    assert min(parts) > 0.0
    assert row["step_over_parts"] == pytest.approx(row["seconds_cpu"] / sum(parts))
    assert row["images_per_second"] == pytest.approx(1 / row["seconds_wall"])
    assert row["peak_mb"] > 100
    assert row["peak_gpu_mb"] is None
    assert "step_over_parts" in capsys.readouterr().out


def test_a_row_holds_the_medians_of_its_repeats() -> None:
    slow = {**RUN, "seconds_wall": 40.0, "seconds_unet": 30.0}
    row = row_of(REQUEST, [RUN, slow, RUN])
    assert row["seconds_wall"] == 4.0
    assert row["images_per_second"] == 2.0
    assert row["step_over_parts"] == 1.25, "5 seconds of the process by 4 of its parts"
    assert row["peak_gpu_mb"] is None
    assert row_of(REQUEST, [{**RUN, "device": "NVIDIA H100"}])["step_over_parts"] == 1.0


def test_stable_diffusions_shapes_are_estimated_without_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """866 M parameters, four times over with gradients and Adam, none of which is allocated."""
    table = tmp_path / "train.json"
    words = ["--scale", "sd21", "--batch-size", "2", "--gradient-checkpointing", "--branches", "identity"]
    assert main(["benchmark", "train", *words, "--dry-run", "--json", "-o", str(table)]) == 0
    printed = capsys.readouterr()
    full, lora = json.loads(printed.out)
    assert json.loads(table.read_text()) == [full, lora]
    assert f"written: {table}" in printed.err
    assert full["latent"] == "2x4x64x64"
    assert full["unet_parameters"] == full["trained"] == 865_910_724
    assert full["gb_gradients_adam"] == pytest.approx(865_910_724 * 12 / 1e9)
    assert lora["trained"] < 10_000_000
    for row in (full, lora):
        static = row["gb_weights"] + row["gb_gradients_adam"]
        assert row["gb_estimated"] == pytest.approx(static + row["gb_activations"])
        assert 2.1 < row["gb_activations"] < 9.0
    # With adapters the base is stored once, as the tuned network; with all weights it waits on the CPU.
    assert lora["gb_weights"] < full["gb_weights"] - 3.3


def test_the_editing_branch_is_estimated_too(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "sd21", "--batch-size", "1", "--branches", "direction", "--tunings", "lora"]
    assert main(["benchmark", "train", *words, "--dry-run", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["trained"] < 10_000_000
    assert row["gb_activations"] > 2.1


def test_arcface_has_the_published_size() -> None:
    with torch.device("meta"):
        network = IResNet100()
    # OpenVINO's model zoo counts 65.131 M in the published network.
    assert sum(each.numel() for each in network.parameters()) == pytest.approx(65.131e6, rel=1e-3)
    assert network.eval()(torch.empty(1, 3, 112, 112, device="meta"), None).shape == (1, 512)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--branches", "idenity"], "--branches idenity: choose from identity, direction"),
        (["--tunings", "lora,lora"], "--tunings lora,lora: choose from full, lora, each once"),
        (["--batch-size", "0"], "--batch-size 0: at least 1"),
    ],
)
def test_requests_of_no_use_are_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "train", *words]) == 1
    assert told in capsys.readouterr().err


def test_requests_survive_their_way_to_the_process() -> None:
    assert TrainRequest.from_json(REQUEST.to_json()) == REQUEST
