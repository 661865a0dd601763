"""What a fit tells of itself before hours of work."""

import re
from datetime import datetime
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from keyface.benchmark.training.networks import build_module
from keyface.benchmark.training.request import TrainRequest
from keyface.callbacks.training_curves import images_in
from keyface.cli.main import main
from keyface.cli.messages import LESS_MEMORY_TO_TRAIN, one_line
from keyface.cli.training.forecast import (
    Pace,
    checkpoint_bytes,
    checkpoints_kept,
    speed_line,
)
from keyface.cli.training.memory import Memory, memory_doubt, opening_line, prediction_line
from keyface.commands.data.shards import render
from keyface.datamodules.shards import ShardsDataModule
from keyface.lightning_modules.tuning.memory import without_values

NOON = datetime(2026, 11, 27, 12, 0)


class Part(LightningModule):
    """A network of which a part is trained, by Adam."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.frozen = nn.Linear(1000, 1000), nn.Linear(1000, 3000).requires_grad_(False)


class Batches:
    """Data of which only the shape of the batches is asked."""

    def batch_shape(self) -> tuple[int, int]:
        return 8, 512


class Looking(nn.Module):
    """A recognizer of somebody's own that decides by values."""

    def forward(self, images: torch.Tensor, landmarks: torch.Tensor | None) -> torch.Tensor:
        colours = images.mean(dim=(2, 3))
        return colours if bool(colours.sum() > 0) else -colours


def fitted(
    module: LightningModule, optimizer: type[torch.optim.Optimizer], *callbacks: ModelCheckpoint
) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", logger=False, callbacks=list(callbacks), enable_checkpointing=bool(callbacks)
    )
    trainer.strategy.optimizers = [optimizer(module.parameters(), lr=0.1)]  # type: ignore[call-arg]
    return trainer


def test_parameters_memory_and_disk_by_hand() -> None:
    module = Part()
    trained, frozen = 1_001_000, 3_003_000
    trainer = fitted(module, torch.optim.AdamW)
    state = 4 * (trained + frozen)
    assert checkpoint_bytes(trainer, module) == state + 8 * trained
    line = opening_line(module, Memory.of(trainer, module), 24_024_000, 4)
    memory = (state + 12 * trained) / 1e6  # gradients and two moments
    assert line == (
        f"trains 1.0 M of 4.0 M parameters; memory from {memory:.1f} MB on, activations on top; "
        "a checkpoint is 24.0 MB, 4 are kept"
    )
    assert checkpoint_bytes(fitted(module, torch.optim.SGD), module) == state + 4 * trained


def test_all_that_takes_memory_is_in_the_line() -> None:
    memory = Memory(10_000_000_000, 2_000_000_000, 4_000_000_000, 8, 512, 24_000_000_000)
    assert memory.total == 40_000_000_000
    assert (
        "memory about 40.0 GB: weights 10.0 GB, gradients 2.0 GB, optimizer 4.0 GB, activations 24.0 GB for "
        "8 images of 512 pixels; a checkpoint"
    ) in opening_line(Part(), memory, 1, None)


def test_a_batch_that_does_not_fit_names_the_ways_out() -> None:
    """3 GB an image beside 16 GB: of 8, 4, 2, 1 images 4 are the most for 30 GB, and none for 18 GB."""

    def of(images: int) -> Memory:
        return Memory(10_000_000_000, 2_000_000_000, 4_000_000_000, images, 512, images * 3_000_000_000)

    assert memory_doubt(of(8), 40_000_000_000, of) is None
    doubt = memory_doubt(of(8), 30_000_000_000, of)
    assert doubt is not None
    assert doubt.startswith(f"memory: about 40.0 GB where there are 30.0 GB. {LESS_MEMORY_TO_TRAIN}")
    assert doubt.endswith("With data.batch_size 4 and trainer.accumulate_grad_batches 2: about 28.0 GB.")
    nothing = memory_doubt(of(8), 18_000_000_000, of)
    assert nothing is not None
    assert nothing.endswith(LESS_MEMORY_TO_TRAIN)
    unknown = Memory(10_000_000_000, 2_000_000_000, 4_000_000_000)
    assert memory_doubt(unknown, 15_000_000_000, of) is not None, "weights alone are too much"


def test_memory_of_a_branch_counts_its_batch(tmp_path: Path) -> None:
    """Of the miniature's ε1 with the batches of its data; a network that looks at values is left out."""
    render(tmp_path, count=8, size=128, samples_per_shard=4)
    module = build_module(TrainRequest("identity", "lora", "miniature", 2, 128, 1, "cpu"))
    trainer = fitted(module, torch.optim.AdamW)
    data = ShardsDataModule(tmp_path, batch_size=2)
    data.setup("fit")
    trainer.datamodule = data  # type: ignore[attr-defined]
    memory = Memory.of(trainer, module)
    trained = 4 * sum(each.numel() for each in module.trained_parameters())
    assert (memory.images, memory.side) == (2, 128)
    assert (memory.gradients, memory.optimizer) == (trained, 2 * trained)
    assert memory.activations == module.step_memory(2, 128).peak - trained
    assert Memory.of(trainer, module, 4).activations > 1.7 * memory.activations
    module.loss.network = Looking()
    assert Memory.of(trainer, module).images is None


def test_stable_diffusion_on_the_meta_device_says_what_it_takes() -> None:
    """866 M parameters, all trained: 3.5 GB of gradients and 6.9 GB of Adam, and nothing is allocated."""
    request = TrainRequest("identity", "full", "sd21", 8, 512, 1, "meta", gradient_checkpointing=True)
    module = build_module(request)
    assert module.backbone.downscale == 8
    without_values(module, "cpu")
    trainer = fitted(module, torch.optim.AdamW)
    trainer.datamodule = Batches()  # type: ignore[attr-defined]
    memory = Memory.of(trainer, module)
    line = opening_line(module, memory, checkpoint_bytes(trainer, module), 4)
    assert "trains 865.9 M of" in line
    assert "gradients 3.5 GB, optimizer 6.9 GB" in line
    assert f"activations {memory.activations / 1e9:,.1f} GB for 8 images of 512 pixels" in line
    # U-Net and average, 3.46 GB each, autoencoder, text encoder and ArcFace, fp32; no step runs the base.
    assert 8.5e9 < memory.weights < 9.5e9
    # Of one image at a time the decoder has 16 maps of 128 x 512 x 512, 2.1 GB in fp32, and larger ones.
    assert 2.1e9 < memory.activations < 14e9


def test_what_is_saved_once_more_is_counted() -> None:
    module = Part()
    last = ModelCheckpoint(monitor="x", save_top_k=3, save_last=True)
    link = ModelCheckpoint(monitor="x", save_top_k=2, save_last="link")
    every = ModelCheckpoint(monitor="x", save_top_k=-1)
    assert checkpoints_kept(fitted(module, torch.optim.SGD, last)) == 4
    assert checkpoints_kept(fitted(module, torch.optim.SGD, link)) == 2
    assert checkpoints_kept(fitted(module, torch.optim.SGD, every)) is None
    assert checkpoints_kept(fitted(module, torch.optim.SGD)) == 0


def test_speed_and_end_by_hand() -> None:
    # 20 batches of 8 images in 40 s; 1,000 steps more.
    assert speed_line(20, 160, 40.0, 1000, NOON) == ("4 images a second; the rest takes 33 min, until 12:33")
    assert speed_line(20, 0, 40.0, 100_000, NOON) == (
        "0.5 batches a second; the rest takes 2 d 7 h 33 min, until 2026-11-29 19:33"
    )
    assert speed_line(20, 160, 40.0, float("inf"), NOON) == "4 images a second"
    assert speed_line(20, 160, 40.0, 20, NOON) is None, "under a minute"
    assert images_in({"image": torch.zeros(5, 3, 2, 2)}) == 5
    assert images_in([1, 2]) == 0


def test_the_pace_is_known_after_enough_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch warms up: 5 more of 8 images in 20 s, and 1,000 to come."""
    clock = iter((100.0, 104.0, 108.0, 112.0, 116.0, 120.0, 124.0))
    monkeypatch.setattr("keyface.cli.training.forecast.time.monotonic", lambda: next(clock))
    pace = Pace(5)
    assert [pace.count(8) for _ in range(6)] == [False] * 5 + [True]
    assert pace.line(1000, NOON) == "2 images a second; the rest takes 1 h 7 min, until 13:06"
    assert not pace.count(8), "once"


def test_a_prediction_says_parameters_precision_and_memory() -> None:
    module = Part().bfloat16()
    memory = Memory(8_008_000, 0, 0)
    assert prediction_line(module, memory) == (
        "4.0 M parameters in bfloat16; memory from 8.0 MB on, what a batch takes on top"
    )
    assert prediction_line(module, Memory(8_008_000, 0, 0, 4, 512, 2_000_000)) == (
        "4.0 M parameters in bfloat16; memory about 10.0 MB: weights 8.0 MB, activations 2.0 MB for 4 images "
        "of 512 pixels"
    )


def test_an_inversion_says_what_it_takes_and_how_fast_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("keyface.cli.training.forecast._SHORT", 0.0)
    render(tmp_path / "shards", count=16, size=128, samples_per_shard=8)
    words = ["shards", "invert", "shards", "--steps", "2", "--levels", "1", "--batch-size", "2"]
    words += ["--workers", "0", "--accelerator", "cpu", "--devices", "1"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert re.search(r"parameters in float32; memory about [\d.]+ MB: .* for 2 images of 128 pixels", said)
    assert re.search(
        r"images a second; the rest takes 1 min, until .*; at most [\d.,]+ [MG]B of memory so far", said
    )
    assert main(words) == 0
    assert "memory about" not in capsys.readouterr().err, "all is done"


def test_a_fit_says_it_and_refuses_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    boring = "lightning.pytorch.demos.boring_classes"
    words = ["fit", "--model", f"{boring}.BoringModel", "--data", f"{boring}.BoringDataModule"]
    words += ["--trainer.accelerator", "cpu", "--trainer.max_steps", "30"]
    assert main(words) == 0
    assert "trains 66 of 66 parameters" in capsys.readouterr().err
    monkeypatch.setattr("keyface.cli.training.forecast.checkpoint_bytes", lambda *_: 10**18)
    assert main([*words, "--experiment", "full"]) == 1
    assert "checkpoints and a new one may take up to" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "full").exists()


def test_out_of_memory_in_training_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(self: BoringModel, batch: object, batch_idx: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(BoringModel, "training_step", no_memory)
    boring = "lightning.pytorch.demos.boring_classes"
    words = ["fit", "--model", f"{boring}.BoringModel", "--data", f"{boring}.BoringDataModule"]
    assert main([*words, "--trainer.accelerator", "cpu", "--trainer.max_steps", "2"]) == 1
    error = capsys.readouterr().err
    for way in ("accumulate_grad_batches", "tuning.lora", "gradient_checkpointing"):
        assert way in error
    assert LESS_MEMORY_TO_TRAIN not in one_line(MemoryError("elsewhere"))
