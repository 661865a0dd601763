"""Training by time: the rate reaches its end, the clock goes on after a resume, one step is always taken."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from keyface.callbacks.time_limit import TimeLimit
from keyface.lightning_modules.optim import WarmupLinear

ROWS = DataLoader(torch.ones(10_000, 1).unbind())  # type: ignore[arg-type]


class Slow(LightningModule):
    """One weight; each step takes 20 ms."""

    def __init__(self, pause: float = 0.02) -> None:
        super().__init__()
        self.layer, self.pause = nn.Linear(1, 1), pause
        self.rates: list[float] = []
        self.validations = 0

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        time.sleep(self.pause)
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validations += 1

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        schedule = WarmupLinear(optimizer, -1, warmup=200, flat=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class StopAt(Callback):
    """Ends a training at a step, as a kill would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.step


def kept(folder: Path, every: int) -> ModelCheckpoint:
    return ModelCheckpoint(folder, "kept", every_n_train_steps=every, save_top_k=-1)


def fit(module: Slow, folder: Path, *callbacks: Callback, checkpoint: Path | None = None) -> None:
    Trainer(
        accelerator="cpu",
        max_steps=-1,
        max_epochs=-1,
        val_check_interval=10**6,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks],
    ).fit(module, ROWS, DataLoader(torch.ones(1, 1)), ckpt_path=checkpoint)  # type: ignore[arg-type]


def test_the_rate_reaches_its_end_when_the_time_is_over(tmp_path: Path) -> None:
    module, began = Slow(), time.perf_counter()
    fit(module, tmp_path, TimeLimit(2.0))
    took = time.perf_counter() - began
    assert 1.9 < took < 4
    assert max(module.rates) == pytest.approx(1.0)
    assert module.rates[len(module.rates) // 3] == pytest.approx(1.0)
    # Linear to zero over the second half: one step of 20 ms, or a few, before the end.
    assert 0 <= module.rates[-1] < 0.15
    assert module.rates[-1] < module.rates[-5] < module.rates[-10] < 1
    assert module.validations == 1, "validated at the end"
    assert json.loads((tmp_path / "time.json").read_text())["seconds"] == pytest.approx(2.0, abs=0.5)


def test_a_step_longer_than_the_time_is_taken_once(tmp_path: Path) -> None:
    module = Slow(pause=0.3)
    fit(module, tmp_path, TimeLimit(0.1))
    assert len(module.rates) == 1
    assert module.validations == 1


def test_the_clock_goes_on_where_the_checkpoint_left_it(tmp_path: Path) -> None:
    first = Slow()
    fit(first, tmp_path, TimeLimit(2.0), StopAt(40), kept(tmp_path, 40))
    checkpoint = tmp_path / "kept.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    elapsed = state["callbacks"]["TimeLimit"]["time_elapsed"]["train"]
    assert 0.8 <= elapsed < 2
    second, began = Slow(), time.perf_counter()
    fit(second, tmp_path, TimeLimit(2.0), kept(tmp_path / "later", 40), checkpoint=checkpoint)
    assert time.perf_counter() - began == pytest.approx(2 - elapsed, abs=0.6), "only the rest of the time"
    (group,) = state["optimizer_states"][0]["param_groups"]
    assert second.rates[0] == group["lr"], "the rate of the very step that would have come"
    assert second.rates[-1] < 0.15
    assert json.loads((tmp_path / "time.json").read_text())["seconds"] == pytest.approx(2.0, abs=0.5)


def test_a_run_whose_time_is_over_is_not_trained_again(tmp_path: Path) -> None:
    fit(Slow(pause=0.3), tmp_path, TimeLimit(0.1), kept(tmp_path, 1))
    again = Slow()
    fit(again, tmp_path, TimeLimit(0.1), kept(tmp_path / "later", 1), checkpoint=tmp_path / "kept.ckpt")
    assert again.rates == []


def test_impossible_times_are_refused() -> None:
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="must be above 0"):
            TimeLimit(seconds)
