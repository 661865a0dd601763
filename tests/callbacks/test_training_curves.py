import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from wandb_file import offline_runs

from keyface.callbacks.news import RunNews
from keyface.callbacks.training_curves import TrainingCurves, bin_names
from keyface.datamodules.shard_files.render import RenderSettings, render_shards
from keyface.datamodules.shards import ShardsDataModule

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*training_step` returned `None`"),
]


class Pull(LightningModule):
    """Pulls a parameter of two values to 3 and 4 by its squared distance, the third step being left out."""

    def __init__(self, folder: Path, breaks: bool = False) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(2))
        self.folder, self.breaks = folder, breaks
        self.nonfinite_in_a_row = 0
        self.losses_by_image: Any = None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        self.losses_by_image = (torch.tensor([10, 990]), torch.tensor([float(batch_idx), 5.0]), 1000)
        self.nonfinite_in_a_row = int(batch_idx == 2)
        if batch_idx == 2:
            return None
        if self.breaks and batch_idx == 3:
            raise FloatingPointError("it diverged\nand more")
        loss = (self.parameter - torch.tensor([3.0, 4.0])).square().sum()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/loss", torch.tensor(0.5))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.parameter], lr=0.25)

    def on_fit_end(self) -> None:
        (self.folder / "export").mkdir(parents=True)
        (self.folder / "export" / "README.md").write_text("# A card")
        (self.folder / "export" / "card.json").write_text('{"steps": 3}')


def fit(folder: Path, module: LightningModule, *loggers: Any) -> None:
    data = DataLoader([{"image": torch.zeros(3, 8, 8)}] * 8, batch_size=2)
    Trainer(
        max_epochs=1,
        logger=[CSVLogger(folder / "run", name="", version=""), *loggers],
        callbacks=[TrainingCurves(), RunNews()],
        accelerator="cpu",
        log_every_n_steps=1,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, data, data)


def column(folder: Path, name: str) -> list[float]:
    with (folder / "run" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_curves_of_a_training(tmp_path: Path) -> None:
    fit(tmp_path, Pull(tmp_path / "run"))
    # 2 · (3, 4) has the length 10, before it is clipped to 1; steps of 0.25 take that much off the distance
    assert column(tmp_path, "optim/gradient_norm")[:2] == pytest.approx([10, 9.5], rel=1e-4)
    assert column(tmp_path, "optim/learning_rate")[0] == 0.25
    assert min(column(tmp_path, "speed/images_per_second")) > 0
    assert min(column(tmp_path, "speed/peak_memory_gib")) > 0.01
    # Batches 0 to 3 at timestep 10, of which the third was left out only by the optimizer.
    assert column(tmp_path, "train/loss_by_timestep/000-199") == [(0 + 1 + 2 + 3) / 4]
    assert column(tmp_path, "train/loss_by_timestep/800-999") == [5.0]
    assert column(tmp_path, "train/loss_by_timestep/200-399") == []


def test_losses_that_are_not_finite_are_no_part_of_a_mean() -> None:
    curves = TrainingCurves(bins=2)
    curves._note_losses((torch.tensor([0, 1, 9]), torch.tensor([2.0, torch.nan, 4.0]), 10))
    curves._note_losses((torch.tensor([4, 5, 6]), torch.tensor([4.0, torch.inf, 8.0]), 10))
    assert curves._sums is not None
    assert curves._sums.tolist() == [[6.0, 12.0], [2.0, 2.0]]


def test_bins_are_named_by_their_first_and_last_timestep() -> None:
    assert bin_names(5, 1000) == ["000-199", "200-399", "400-599", "600-799", "800-999"]
    for bins, total in ((3, 10), (7, 1000)):
        for place, name in enumerate(bin_names(bins, total)):
            first, last = map(int, name.split("-"))
            assert {t * bins // total for t in range(first, last + 1)} == {place}


def test_wandb_is_told_of_divergence_the_end_and_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    logger = WandbLogger(project="test", offline=True, save_dir=tmp_path, mode="offline")
    fit(tmp_path, Pull(tmp_path / "run"), logger)
    logger.experiment.finish()
    (told,) = offline_runs(tmp_path)
    assert [(alert.title, alert.level) for alert in told.alerts] == [
        ("Loss is not finite", "WARN"),
        ("Training ended", "INFO"),
    ]
    assert told.alerts[1].text.startswith("4 steps, train/loss ")
    assert told.alerts[1].text.endswith("val/loss 0.5")
    (artifact,) = told.artifacts
    assert (artifact.type, artifact.name) == ("model", f"export-{told.run.run_id}")
    assert sorted(entry.path for entry in artifact.manifest.contents) == ["README.md", "card.json"]
    assert '"steps"' in artifact.metadata
    for group, name in (
        ("optim", "gradient_norm"),
        ("optim", "learning_rate"),
        ("speed", "images_per_second"),
    ):
        assert told.values(f"{group}/{name}"), name


def test_the_index_of_the_shards_is_an_artifact_that_the_run_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    shards = tmp_path / "my shards"
    render_shards(shards, RenderSettings(count=4, size=32, samples_per_shard=2))
    logger = WandbLogger(project="test", offline=True, save_dir=tmp_path, mode="offline")
    data = ShardsDataModule(shards, batch_size=2, val_fraction=0.5)
    Trainer(
        max_steps=1,
        limit_val_batches=0,
        log_every_n_steps=1,
        logger=logger,
        callbacks=[RunNews()],
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Pull(tmp_path / "run"), data)
    logger.experiment.finish()
    (told,) = offline_runs(tmp_path)
    used = next(each for each in told.artifacts if each.type == "dataset")
    assert (used.name, used.use_after_commit) == ("shards-my-shards", True)
    (entry,) = used.manifest.contents
    assert entry.path == "index.json"
    assert Path(entry.local_path).read_text() == (shards / "index.json").read_text()
    assert not any(each.use_after_commit for each in told.artifacts if each.type == "model")


def test_wandb_is_told_what_stopped_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="test", offline=True, save_dir=tmp_path, mode="offline")
    with pytest.raises(FloatingPointError):
        fit(tmp_path, Pull(tmp_path / "run", breaks=True), logger)
    logger.experiment.finish(exit_code=1)
    (told,) = offline_runs(tmp_path)
    assert [(alert.title, alert.level) for alert in told.alerts] == [
        ("Loss is not finite", "WARN"),
        ("Training stopped", "ERROR"),
    ]
    assert told.alerts[1].text == "at step 3: it diverged"
    assert told.artifacts == []
