"""What tests name in configs: a callback that notes what is trained on, and batches by key."""

import json
import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from keyface.datamodules.shard_files.batch import Shape, to_batch
from keyface.datamodules.shard_files.index import ShardIndex
from keyface.datamodules.shard_files.reader import Faults, find_samples, load_sample


class Recorder(Callback):
    """Notes each step's keys and loss in ``folder/<rank>.jsonl``.

    Args:
        folder: Where.
        dies_at: The process kills itself at the end of this step, before a checkpoint of it; 0 never.
    """

    def __init__(self, folder: str, dies_at: int = 0) -> None:
        self.folder, self.dies_at = Path(folder), dies_at

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a") as file:
            note = {"step": trainer.global_step, "keys": batch["key"], "loss": float(outputs["loss"])}
            file.write(json.dumps(note) + "\n")
        if self.dies_at and trainer.global_step == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def notes(folder: Path, rank: int = 0) -> list[dict[str, Any]]:
    """What a recorder wrote."""
    return [json.loads(line) for line in (folder / f"{rank}.jsonl").read_text().splitlines()]


class GivenBatches(LightningDataModule):
    """Batches of the given keys, in this order.

    Args:
        shards: Where they are.
        keys: Of each batch.
    """

    def __init__(self, shards: str, keys: list[list[str]]) -> None:
        super().__init__()
        self.shards, self.keys = Path(shards), keys

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        index = ShardIndex.read(self.shards)
        found = {e.key: e for s in index.shards for e in find_samples(self.shards, s, Faults())}
        shape = Shape(32, with_latents=True)
        batches = [
            to_batch([load_sample(found[key], with_latents=True) for key in keys], shape, ["0:0"] * len(keys))
            for keys in self.keys
        ]
        return _GoingOn(cast(Any, batches), batch_size=None)


class _GoingOn(DataLoader[dict[str, Any]]):
    """Goes on where the `ResumableLoader` of a checkpoint stood."""

    given = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        return islice(super().__iter__(), self.given, None)

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.given = state["given"]


class MeanColour(LightningModule):
    """Learns the mean colour of its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.zeros(3))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        colours: Tensor = batch["image"].mean(dim=(2, 3))
        return (colours - self.colour).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1)
