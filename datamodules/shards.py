"""The datamodule that training reads: shards of CelebA-HQ or of the miniature, which look alike."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn

from keyface.datamodules.shard_files.batch import Shape, to_batch
from keyface.datamodules.shard_files.index import ShardError, ShardIndex, local_folder
from keyface.datamodules.shard_files.loaders import NonEmptyLoader, ResumableLoader
from keyface.datamodules.shard_files.reader import Faults, find_samples, load_sample
from keyface.datamodules.shard_files.schema import MASK
from keyface.datamodules.shard_files.streams import EvaluationStream, Selection, Source, TrainStream
from keyface.plugins import edits


class ShardsDataModule(LightningDataModule):
    """Batches from a folder of WebDataset shards with their `index.json`.

    Identities, not images, are split into training and validation. Training streams are endless, seeded
    and different for every rank and worker; an epoch is as many batches as training samples make on
    average, equally many on every rank, so uneven shards cannot make one rank wait for another. A run that is
    resumed in the middle of an epoch goes on with the batch that it would have seen next, provided the
    numbers of workers and ranks are the same.

    Args:
        shards: The folder, as `keyface shards render` writes it.
        batch_size: Images a batch, on each device.
        val_fraction: Share of the identities for validation, in [0, 1).
        workers: Data loading processes; 0 loads in the training process.
        seed: Draws split and order.
        categories: Names of edits; only images of use to at least one of them are given. None gives all.
        image_size: Side of the images in pixels; others are resized. None takes that of the first image.
        resampled: Draw shards with replacement (any number of ranks and workers will do). Otherwise every
            rank and worker has shards of its own and sees each of their images once before any twice.
        with_mask: Give the label maps.
        with_latents: Give the cached latents; each image's timestep is drawn.
        shuffle: How many samples are shuffled among each other.
        tolerate: How many unreadable samples or shards are passed over in each worker before it is an error.

    Example:
        >>> data = ShardsDataModule("runs/demo/shards", batch_size=8)  # doctest: +SKIP
        >>> data.setup("fit")  # doctest: +SKIP
        >>> next(iter(data.train_dataloader()))["image"].shape  # doctest: +SKIP
        torch.Size([8, 3, 128, 128])
    """

    def __init__(
        self,
        shards: str | Path,
        batch_size: int = 8,
        val_fraction: float = 0.05,
        workers: int = 0,
        seed: int = 0,
        categories: list[str] | None = None,
        image_size: int | None = None,
        resampled: bool = True,
        with_mask: bool = False,
        with_latents: bool = False,
        shuffle: int = 1000,
        tolerate: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0 or shuffle < 1 or tolerate < 0:
            raise ShardError("batch_size and shuffle must be at least 1, workers and tolerate at least 0")
        if not 0.0 <= val_fraction < 1.0:
            raise ShardError(f"val_fraction is {val_fraction}, it must be in [0, 1)")
        self.shards = shards
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.workers = workers
        self.seed = seed
        self.categories = tuple(edits[name] for name in categories or ())
        self.image_size = image_size
        self.resampled = resampled
        self.with_mask = with_mask
        self.with_latents = with_latents
        self.shuffle = shuffle
        self.tolerate = tolerate

    def setup(self, stage: str | None = None) -> None:
        """Read the index and say, before any training, what would go wrong later."""
        folder = local_folder(self.shards)
        index = ShardIndex.read(folder)
        index.check_sizes(folder)
        rank, world_size = self._rank_and_world()
        shape = Shape(self.image_size or _stored_size(folder, index), self.with_mask, self.with_latents)
        streams = max(1, self.workers)
        self.source = Source(folder, index, self.batch_size, shape, self.tolerate, rank, world_size, streams)
        if stage in (None, "fit"):
            self._check_streams(index, world_size, streams)

    def train_dataloader(self) -> ResumableLoader:
        """Return the training batches; see the class for their order."""
        stream = TrainStream(
            self.source,
            Selection(self.val_fraction, self.seed, validation=False, categories=self.categories),
            batches=self.train_batches,
            seed=self.seed,
            resampled=self.resampled,
            buffer=self.shuffle,
        )
        return ResumableLoader(stream, self.workers)

    def val_dataloader(self) -> NonEmptyLoader | list[Any]:
        """Return every validation sample once, or nothing if `val_fraction` is 0."""
        if self.val_fraction == 0.0:
            return []
        chosen = Selection(self.val_fraction, self.seed, validation=True, categories=self.categories)
        return NonEmptyLoader(EvaluationStream(self.source, chosen), self.workers)

    def test_dataloader(self) -> NonEmptyLoader | list[Any]:
        """Return the same as `val_dataloader`."""
        return self.val_dataloader()

    def held_out(self) -> Iterator[dict[str, Any]]:
        """Yield the validation samples of all processes one by one, in the shards' order, as batches of one.

        Label maps are given wherever they are, whatever `with_mask` says, and latents never.
        """
        chosen = Selection(self.val_fraction, self.seed, validation=True)
        faults = Faults(self.tolerate)
        for shard in self.source.index.shards:
            for found in filter(chosen, find_samples(self.source.folder, shard, faults)):
                shape = Shape(self.source.shape.image_size, with_mask=MASK in found.members)
                yield to_batch([load_sample(found, with_mask=shape.with_mask)], shape, "")

    def batch_shape(self) -> tuple[int, int]:
        """Return the images of a batch on a device, and their side in pixels."""
        return self.batch_size, self.source.shape.image_size

    def fingerprint(self) -> str:
        """Return the number of samples and a digest of the shards' SHA-256, wherever they lie."""
        index = self.source.index
        digest = hashlib.sha256("".join(shard.sha256 for shard in index.shards).encode()).hexdigest()
        return f"{index.samples} samples, {digest[:12]}"

    @property
    def train_batches(self) -> int:
        """Batches in a training epoch of one rank."""
        training = round(self.source.index.samples * (1.0 - self.val_fraction))
        return max(1, training // (self.batch_size * self.source.world_size))

    def _rank_and_world(self) -> tuple[int, int]:
        if self.trainer is not None:
            return self.trainer.global_rank, self.trainer.world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _check_streams(self, index: ShardIndex, world_size: int, streams: int) -> None:
        readers = world_size * streams
        if len(index.shards) >= readers:
            return
        counted = f"{len(index.shards)} shards for {world_size} ranks x {streams} workers = {readers} readers"
        if not self.resampled:
            raise ShardError(
                f"{self.source.folder}: {counted}; set workers to at most {len(index.shards) // world_size}, "
                "write smaller shards (--samples-per-shard), or set resampled to true"
            )
        rank_zero_warn(f"{self.source.folder}: {counted}; readers draw from the same shards")


def _stored_size(folder: Path, index: ShardIndex) -> int:
    """Return the side of the first image, which stands for all where no size is asked for."""
    for shard in index.shards:
        for found in find_samples(folder, shard, Faults(limit=shard.samples)):
            return int(load_sample(found).image.shape[0])
    raise ShardError(f"{folder}: no shard has a readable sample; see `keyface shards verify {folder}`")
