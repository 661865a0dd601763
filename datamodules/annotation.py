"""Captions and latents for samples that lack them: given out to `lightning predict`, put into the shards.

Results are kept one file a sample beside the shards until every process is through; then one process writes
the shards anew. So a run that was stopped goes on sample by sample, on any number of devices, and the index
always describes whole shards.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import IterableDataset, get_worker_info

from keyface.datamodules.shard_files.annotation_store import Staging, merge
from keyface.datamodules.shard_files.batch import Shape, to_batch
from keyface.datamodules.shard_files.index import ShardError, ShardIndex, local_folder
from keyface.datamodules.shard_files.loaders import load_batches
from keyface.datamodules.shard_files.reader import Faults, Found, find_samples, load_sample
from keyface.datamodules.shard_files.schema import LATENTS, Latents, Sample, SampleError, encode_latents
from keyface.files import require_space
from keyface.progress import bar

What = Literal["captions", "latents"]

MEMBERS: dict[str, str] = {"captions": "txt", "latents": LATENTS}
"""The member of a sample that holds each."""

RECORDED: dict[str, str] = {"captions": "captioned", "latents": "inverted"}
"""Under which name the index tells how each was made."""


class AnnotationDataModule(LightningDataModule):
    """Gives the samples that lack captions or latents, and takes them; see `keyface.callbacks.annotate`.

    Args:
        shards: The folder.
        what: `captions` or `latents`.
        batch_size: Images a batch, on each device.
        workers: Data loading processes; 0 loads in the process that predicts.
        overwrite: Make anew what samples already have. New captions drop the latents, which were inverted
            with the old ones.
    """

    def __init__(
        self,
        shards: str | Path,
        what: What,
        batch_size: int = 8,
        workers: int = 0,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        if what not in get_args(What):
            raise ShardError(f"what is {what!r}, it must be one of {', '.join(get_args(What))}")
        if batch_size < 1 or workers < 0:
            raise ShardError("batch_size must be at least 1, workers at least 0")
        self.shards = shards
        self.what = what
        self.batch_size = batch_size
        self.workers = workers
        self.overwrite = overwrite

    def setup(self, stage: str | None = None) -> None:
        """Read the index and find every sample."""
        self.folder = local_folder(self.shards)
        self.index = ShardIndex.read(self.folder)
        self.index.check_sizes(self.folder)
        self.staging = Staging(self.folder / f".{self.what}", MEMBERS[self.what])
        self.samples: list[Found] = []
        for shard in self.index.shards:
            self.samples += find_samples(self.folder, shard, Faults())

    def begin(self, settings: dict[str, Any], first: bool, member_bytes: Callable[[int], int]) -> None:
        """Compare with what was done before, and choose what is to be done.

        Args:
            settings: What decides the result.
            first: Whether this process may write.
            member_bytes: Most bytes of one sample's result, by the side of its image.

        Raises:
            ShardError: Samples have what other settings made, or an unfinished run had other settings.
            ValueError: The disk has no room for the results.
        """
        made = self.index.made.get(RECORDED[self.what])
        if made is not None and made != settings and not self.overwrite:
            raise ShardError(
                f"{self.folder}: its {self.what} were made with {made}, now {settings}; "
                "overwrite makes them anew"
            )
        wanted = [each for each in self.samples if self.overwrite or self.staging.member not in each.members]
        stale = self.what == "captions" and any(LATENTS in each.members for each in wanted)
        if stale and not self.overwrite:
            raise ShardError(
                f"{self.folder}: its latents were inverted with the captions that are there; "
                "overwrite drops them"
            )
        self.settings = settings
        self.wanted = wanted
        self._side = _load(wanted[0]).image.shape[0] if wanted else 0
        if wanted and first:
            self._require_space(member_bytes(self._side))
        self.staging.open(settings, self.overwrite, first)
        if first and ShardIndex.read(self.folder) != self.index:
            raise ShardError(f"{self.folder}: another process has just changed its shards; repeat the call")

    def _require_space(self, each: int) -> None:
        """Refuse what the disk has no room for: results wait in files of their own while shards are written.

        Args:
            each: Most bytes of one sample's result.
        """
        staged = sum(self.staging.has(found.key) for found in self.wanted)
        one_shard = max(shard.bytes for shard in self.index.shards)  # old and new are there for a moment
        needed = (2 * len(self.wanted) - staged) * each + one_shard
        rank_zero_info(
            f"{self.folder}: {self.what} of {len(self.wanted)} samples, up to "
            f"{len(self.wanted) * each / 1e6:,.0f} MB, and at times {needed / 1e6:,.0f} MB"
        )
        require_space(self.folder, needed, f"{self.what} of {len(self.wanted)} samples")

    def batch_shape(self) -> tuple[int, int]:
        """Return the images of a batch on a device, and their side in pixels; after `begin`."""
        return min(self.batch_size, len(self.wanted)), self._side

    def predict_dataloader(self) -> "Todo":
        """Return this process's share of what is still to be done."""
        rank, world_size = (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )
        # Shares do not depend on what is done already, so that processes agree however late each looks.
        mine = [found for found in self.wanted[rank::world_size] if not self.staging.has(found.key)]
        return Todo(mine, self.batch_size, self.workers, with_latents=self.what == "latents")

    def keep(self, prediction: dict[str, Any]) -> None:
        """Keep one batch's results on the disk.

        Args:
            prediction: `key` and `caption`; or `key`, `latent`, `inverted` and `timesteps`.

        Raises:
            SampleError: A result cannot be used.
        """
        for row, key in enumerate(prediction["key"]):
            if self.what == "captions":
                self.staging.put(key, self._caption(key, prediction["caption"][row]).encode())
                continue
            latents = Latents(
                prediction["latent"][row].float().cpu(),
                prediction["inverted"][row].float().cpu(),
                prediction["timesteps"].cpu(),
            )
            if not (latents.latent.isfinite().all() and latents.inverted.isfinite().all()):
                raise SampleError(f"sample {key!r}: its latents are not finite; use another precision")
            self.staging.put(key, encode_latents(latents))

    def finish(self) -> None:
        """Put everything into the shards, if it is complete; otherwise say what is left."""
        left = sum(not self.staging.has(found.key) for found in self.wanted)
        if left:
            rank_zero_info(f"{self.folder}: {left} of {len(self.wanted)} {self.what} left; repeat the call")
            return
        if self.wanted or self.staging.resumed:  # a stop just before the end leaves nothing but the record
            drop: tuple[str, ...] = ()
            made = dict(self.index.made)
            if self.what == "captions":
                drop = (LATENTS,)
                made.pop(RECORDED["latents"], None)
            made[RECORDED[self.what]] = self.settings
            with bar(f"write {self.folder}", len(self.samples), "sample") as advance:
                self.index = merge(
                    self.folder,
                    self.index,
                    self.staging,
                    drop,
                    made,
                    advance,
                )
        self.staging.close()
        rank_zero_info(f"{self.folder}: {len(self.samples)} samples have {self.what}, {len(self.wanted)} new")

    def release(self) -> None:
        """Let other processes work on the shards again."""
        if "staging" in vars(self):
            self.staging.release()

    def _caption(self, key: str, said: str) -> str:
        if said.strip():
            return said
        warnings.warn(f"sample {key!r}: the captioner has no words for it, its caption stays", stacklevel=2)
        return load_sample(next(each for each in self.wanted if each.key == key)).record.caption


class Todo:
    """Loads samples in batches.

    Args:
        found: The samples.
        batch_size: Samples a batch.
        workers: Data loading processes.
        with_latents: Whether latents are to be made, which belong to images of one size.
    """

    def __init__(self, found: Sequence[Found], batch_size: int, workers: int, with_latents: bool) -> None:
        self.stream = _Stream(found, batch_size, with_latents)
        self.workers = workers

    def __len__(self) -> int:
        # Lightning passes over an empty loader, and with it over the end, where shards are written.
        return max(1, len(self.stream.batches))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return load_batches(self.stream, self.workers)


class _Stream(IterableDataset[dict[str, Any]]):
    def __init__(self, found: Sequence[Found], batch_size: int, same_size: bool) -> None:
        super().__init__()
        self.batches = [found[start : start + batch_size] for start in range(0, len(found), batch_size)]
        self.same_size = same_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for batch in self.batches[first::step]:
            samples = [_load(found) for found in batch]
            size = samples[0].image.shape[0]
            other = next((each for each in samples if each.image.shape[0] != size), None)
            if self.same_size and other is not None:
                raise ShardError(
                    f"sample {other.key!r} has {other.image.shape[0]} pixels, {samples[0].key!r} {size}; "
                    "latents are made of images of one size"
                )
            yield to_batch(samples, Shape(size), [""] * len(samples))


def _load(found: Found) -> Sample:
    try:
        return load_sample(found)
    except SampleError as error:
        raise ShardError(f"{found.shard}, sample {found.key!r}: {error}") from error
