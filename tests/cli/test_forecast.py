"""What a fit tells of itself before hours of work."""

from datetime import datetime
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from keyface.callbacks.training_curves import images_in
from keyface.cli.forecast import checkpoint_bytes, checkpoints_kept, opening_line, speed_line
from keyface.cli.main import main
from keyface.cli.messages import LESS_MEMORY_TO_TRAIN, one_line

NOON = datetime(2026, 11, 27, 12, 0)


class Part(LightningModule):
    """A network of which a part is trained, by Adam."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.frozen = nn.Linear(1000, 1000), nn.Linear(1000, 3000).requires_grad_(False)


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
    line = opening_line(trainer, module, 24_024_000, 4)
    memory = (state + 12 * trained) / 1e6  # gradients and two moments
    assert line == (
        f"trains 1.0 M of 4.0 M parameters; memory from {memory:.1f} MB on, activations on top; "
        "a checkpoint is 24.0 MB, 4 are kept"
    )
    assert checkpoint_bytes(fitted(module, torch.optim.SGD), module) == state + 4 * trained


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
    assert speed_line(20, 160, 40.0, 1000, NOON) == (
        "4 images a second; the rest takes 33 min, until 12:33, validations on top"
    )
    assert speed_line(20, 0, 40.0, 100_000, NOON) == (
        "0.5 batches a second; the rest takes 2 d 7 h 33 min, until 2026-11-29 19:33, validations on top"
    )
    assert speed_line(20, 160, 40.0, float("inf"), NOON) == "4 images a second"
    assert speed_line(20, 160, 40.0, 20, NOON) is None, "under a minute"
    assert images_in({"image": torch.zeros(5, 3, 2, 2)}) == 5
    assert images_in([1, 2]) == 0


def test_a_fit_says_it_and_refuses_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    boring = "lightning.pytorch.demos.boring_classes"
    words = ["fit", "--model", f"{boring}.BoringModel", "--data", f"{boring}.BoringDataModule"]
    words += ["--trainer.accelerator", "cpu", "--trainer.max_steps", "30"]
    assert main(words) == 0
    assert "trains 66 of 66 parameters" in capsys.readouterr().err
    monkeypatch.setattr("keyface.cli.forecast.checkpoint_bytes", lambda *_: 10**18)
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
