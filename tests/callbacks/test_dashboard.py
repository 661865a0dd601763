import json
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from torch.utils.data import DataLoader

from keyface.callbacks.dashboard import (
    GrowingTable,
    alert,
    log_folder,
    log_image,
    log_used_file,
    log_videos,
    wandb_loggers,
)
from keyface.pictures import draw_sheet, save_png
from keyface.video import write_clip

pytestmark = [
    # Lightning 2.6 asks torch 2.15's pytrees a deprecated question; wandb is passed an option it dropped
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


class Logs(Callback):
    def __init__(self, folder: Path) -> None:
        self.picture = save_png(draw_sheet([("row", torch.zeros(2, 3, 8, 8))]), folder / "sheet.png")
        self.video = folder / "clip.mp4"
        write_clip(self.video, torch.zeros(3, 3, 16, 16), 5)
        self.table = GrowingTable("table", ("step", "value"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        log_videos(trainer, "videos", {"a caption": self.video})
        log_image(trainer, "sheet", self.picture, "a sheet")
        self.table.add(trainer, [(trainer.global_step, 0.5)])


def fit(folder: Path, *loggers: Logger) -> Trainer:
    trainer = Trainer(
        max_epochs=2,
        limit_train_batches=1,
        limit_val_batches=1,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        logger=list(loggers),
        callbacks=[Logs(folder)],
        accelerator="cpu",
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(RandomDataset(32, 2))
    trainer.fit(BoringModel(), data, data)
    return trainer


def test_without_its_logger_nothing_needs_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the machine with a GPU that trains the miniature, where it is not installed."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    trainer = fit(tmp_path, CSVLogger(tmp_path))
    alert(trainer, "a title", "a text")
    log_folder(trainer, "weights", "model", tmp_path)
    log_used_file(trainer, "faces", "dataset", "index.json", "{}")


def test_media_reach_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandbLogger(project="test", offline=True, save_dir=tmp_path)
    fit(tmp_path, CSVLogger(tmp_path), logger)
    logger.experiment.finish()
    media = sorted((tmp_path / "wandb").glob("offline-run-*/files/media/**/*.*"))
    kinds = [path.suffix for path in media]
    assert kinds.count(".mp4") == 2
    assert kinds.count(".png") == 2
    tables = [json.loads(path.read_text()) for path in media if path.suffix == ".json"]
    # INCREMENTAL: each log holds its new rows only
    assert sorted(row[0] for table in tables for row in table["data"]) == [1, 2]


def test_without_wandb_nothing_happens(tmp_path: Path) -> None:
    trainer = fit(tmp_path, CSVLogger(tmp_path))
    assert wandb_loggers(trainer) == []
    assert not (tmp_path / "wandb").exists()
