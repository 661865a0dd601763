"""The datamodule that training reads: shards of CelebA-HQ or of the miniature, which look alike."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from keyface.datamodules.shard_files.batch import Shape, to_batch
from keyface.datamodules.shard_files.catalogue import Catalogue
from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_files.loaders import Batches, EvaluationLoader, ResumableLoader, Share
from keyface.datamodules.shard_files.order import Order
from keyface.datamodules.shard_files.reader import Faults
from keyface.datamodules.shard_files.schema import MASK, MEMBERS, SampleError
from keyface.datamodules.shard_sources.cache import ShardCache, default_folder
from keyface.datamodules.shard_sources.sources import Shards
from keyface.faces.alignment import sane_landmarks
from keyface.plugins import edits
from keyface.plugins.labels import lacking_labels
from keyface.progress import bar


class ShardsDataModule(LightningDataModule):
    """Batches from WebDataset shards, on the disk or behind URLs.

    Identities, not images, are split into training and validation. All processes go through one endless,
    seeded order of the training samples, pass after pass, and take turns at it; an epoch is the number of
    whole steps in a pass. A run that is resumed goes on with the sample that comes next: with the same number
    of processes its batches are, to the last bit, those of an uninterrupted run; with another each sample
    that is left of the pass is still seen once.

    Args:
        shards: A folder, as `keyface shards render` writes it; a brace pattern, as in
            data/shard-{000000..000019}.tar; or a list of tar files. Each may be a URL: https, s3 or gs.
        batch_size: Images a batch, on each device.
        val_fraction: Share of the identities for validation, in [0, 1).
        workers: Data loading processes; 0 loads in the training process. They do not change the order.
        seed: Draws split and order.
        categories: Names of edits; only images of use to at least one of them are given. None gives all.
        image_size: Side of the images in pixels; others are resized. None takes that of the first image.
        with_mask: Give the label maps.
        with_latents: Give the cached latents; each image's timestep is drawn.
        shuffle: How many samples are shuffled among each other.
        tolerate: How many unreadable samples or shards are passed over in each worker before it is an error.
        cache: Folder for copies of remote shards, which all processes of a machine share; None takes what the
            environment variable KEYFACE_SHARD_CACHE says, or ~/.cache/keyface/shards.
        cache_gb: Most gigabytes of copies; those go that were not used for the longest time.

    Example:
        >>> data = ShardsDataModule("runs/demo/shards", batch_size=8)  # doctest: +SKIP
        >>> data.setup("fit")  # doctest: +SKIP
        >>> next(iter(data.train_dataloader()))["image"].shape  # doctest: +SKIP
        torch.Size([8, 3, 128, 128])
    """

    def __init__(
        self,
        shards: list[str] | str | Path,
        batch_size: int = 8,
        val_fraction: float = 0.05,
        workers: int = 0,
        seed: int = 0,
        categories: list[str] | None = None,
        image_size: int | None = None,
        with_mask: bool = False,
        with_latents: bool = False,
        shuffle: int = 1000,
        tolerate: int = 0,
        cache: Path | None = None,
        cache_gb: float = 50.0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0 or shuffle < 1 or tolerate < 0:
            raise ShardError("batch_size and shuffle must be at least 1, workers and tolerate at least 0")
        if not 0.0 <= val_fraction < 1.0:
            raise ShardError(f"val_fraction is {val_fraction}, it must be in [0, 1)")
        if not cache_gb > 0.0:
            raise ShardError(f"cache_gb is {cache_gb}, it must be above 0")
        self.shards = shards
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.workers = workers
        self.seed = seed
        self.categories = tuple(edits[name] for name in categories or ())
        self.image_size = image_size
        self.with_mask = with_mask
        self.with_latents = with_latents
        self.shuffle = shuffle
        self.tolerate = tolerate
        self.cache = ShardCache(Path(cache or default_folder()), round(cache_gb * 1e9))

    def prepare_data(self) -> None:
        """Fetch remote shards once on each machine, to know what is in them."""
        shards = Shards.find(self.shards, self.cache)
        if shards.is_remote:
            with bar(f"fetch {shards.given}", len(shards), "shard") as advance:
                self._catalogue(shards, advance)

    def setup(self, stage: str | None = None) -> None:
        """Find every sample and say, before any training, what would go wrong later."""
        self.source = Shards.find(self.shards, self.cache)
        self.catalogue = self._catalogue(self.source)
        for category in self.categories:
            if lacking := lacking_labels(category, self.catalogue.labels):
                raise ShardError(f"{self.source.given}: edit {category.name!r} asks for the label {lacking}")
        self.shape = Shape(self.image_size or _stored_size(self.catalogue), self.with_mask, self.with_latents)
        rank, world_size = self._rank_and_world()
        self.share = Share(self.batch_size, rank, world_size)
        if stage == "fit":
            self.catalogue.require(self.catalogue.rows(self.val_fraction, validation=False))

    def train_dataloader(self) -> ResumableLoader:
        """Return the training batches; see the class for their order."""
        rows = self.catalogue.rows(self.val_fraction, validation=False)
        self.catalogue.require(rows)
        batches = Batches(self.catalogue, self.shape, self.tolerate, spares=rows)
        order = Order(rows, self.catalogue.shard[rows], self.seed, self.shuffle)
        return ResumableLoader(batches, order, self.share, self.workers)

    def val_dataloader(self) -> EvaluationLoader | list[Any]:
        """Return every validation sample once, or nothing if `val_fraction` is 0."""
        if self.val_fraction == 0.0:
            return []
        rows = self.catalogue.rows(self.val_fraction, validation=True)
        batches = Batches(self.catalogue, self.shape, self.tolerate)
        return EvaluationLoader(batches, rows, self.share, self.workers)

    def test_dataloader(self) -> EvaluationLoader | list[Any]:
        """Return the same as `val_dataloader`."""
        return self.val_dataloader()

    def held_out(self) -> Iterator[dict[str, Any]]:
        """Yield the validation samples of all processes one by one, in the shards' order, as batches of one.

        Label maps are given wherever they are, whatever `with_mask` says, and latents never.
        """
        place = MEMBERS.index(MASK)
        readers = {
            masked: Batches(self.catalogue, Shape(self.shape.image_size, with_mask=masked), self.tolerate)
            for masked in (False, True)
        }
        for row in self.catalogue.rows(self.val_fraction, validation=True).tolist():
            reader = readers[bool(self.catalogue.members[row, place, 1] >= 0)]
            if (sample := reader.sample(row)) is not None:
                yield to_batch([sample], reader.shape, [""])

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Refuse landmarks that make no face, for a module that aligns faces; called by Lightning.

        Raises:
            ValueError: There are such; the message has the samples' keys.
        """
        module = None if self.trainer is None else self.trainer.lightning_module
        if getattr(module, "needs_landmarks", False):
            sane = sane_landmarks(batch["landmarks"]).tolist()
            if broken := [key for key, good in zip(batch["key"], sane, strict=True) if not good]:
                told = ", ".join(broken)
                raise ValueError(f"landmarks of {told} make no face; detect them again, or leave these out")
        return batch

    def batch_shape(self) -> tuple[int, int]:
        """Return the images of a batch on a device, and their side in pixels."""
        return self.batch_size, self.shape.image_size

    def fingerprint(self) -> str:
        """Return the number of samples and a digest of the shards, wherever they lie.

        The digest is of their SHA-256, where an index tells it, else of their samples' keys and places.
        """
        index, catalogue = self.source.index, self.catalogue
        if self.source.indexed:
            digest = hashlib.sha256("".join(shard.sha256 for shard in index.shards).encode())
            return f"{index.samples} samples, {digest.hexdigest()[:12]}"
        digest = hashlib.sha256(" ".join(catalogue.key.tolist()).encode() + catalogue.members.tobytes())
        return f"{len(catalogue.key)} samples, {digest.hexdigest()[:12]}"

    @property
    def dataset_name(self) -> str:
        """The folder's name, or the last part of what else the shards are called by."""
        return self.source.given.rstrip("/").rpartition("/")[2]

    def index_json(self) -> str:
        """Return the content of index.json: which samples a run learns from, for whoever keeps a record."""
        return self.source.index.json()

    def labels(self) -> frozenset[str]:
        """Return every label that a sample has."""
        return self.catalogue.labels

    def _catalogue(
        self, shards: Shards, progress: Callable[[int], object] = lambda shards: None
    ) -> Catalogue:
        return Catalogue.of(
            shards, Faults(self.tolerate), seed=self.seed, categories=self.categories, progress=progress
        )

    def _rank_and_world(self) -> tuple[int, int]:
        if self.trainer is not None:
            return self.trainer.global_rank, self.trainer.world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


def _stored_size(catalogue: Catalogue) -> int:
    """Return the side of the first image, which stands for all where no size is asked for."""
    for row in range(len(catalogue.key)):
        try:
            return int(catalogue.load(row).image.shape[0])
        except SampleError:
            continue
    given = catalogue.shards.given
    raise ShardError(f"{given}: no shard has a readable sample; see `keyface shards verify {given}`")
