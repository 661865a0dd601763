"""The order in which samples come: seeded, split by rank and worker, and resumable in the middle.

A training epoch is one seeded stream for each rank and each of its workers; batch j of an epoch always
comes from stream j mod W. To resume at batch n, stream j is given to the worker that the data loader asks
first for it, and what lies before n is found but not decoded. So batches n, n+1, … are the very ones that
an uninterrupted run would have seen.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from keyface.datamodules.shard_files.batch import Shape, to_batch
from keyface.datamodules.shard_files.index import ShardEntry, ShardError, ShardIndex
from keyface.datamodules.shard_files.reader import Faults, Found, find_samples, load_sample
from keyface.datamodules.shard_files.schema import Sample, SampleError
from keyface.plugins.category import Category


@dataclass(frozen=True)
class Selection:
    """Which samples are wanted.

    Attributes:
        val_fraction: The share of identities that is kept for validation.
        seed: Draws that share.
        validation: Whether the validation share is wanted, or the rest.
        categories: If any, an image must be of use to at least one of them.
    """

    val_fraction: float
    seed: int
    validation: bool
    categories: tuple[Category, ...] = ()

    def __call__(self, found: Found) -> bool:
        """Say whether a sample is wanted."""
        if (identity_share(found.record.identity, self.seed) < self.val_fraction) != self.validation:
            return False
        attributes = found.record.attributes
        return not self.categories or any(each.may_apply_to(attributes) for each in self.categories)


def identity_share(identity: int, seed: int) -> float:
    """Return a number in [0, 1) that depends on identity and seed only: no person is in both splits."""
    digest = hashlib.sha256(f"{seed}:{identity}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


@dataclass(frozen=True)
class Source:
    """What both streams read from, and who reads.

    Attributes:
        folder: The folder of shards.
        index: Its index.
        batch_size: Samples in a batch.
        shape: What a batch looks like.
        tolerate: How many faults are passed over.
        rank: This process's number.
        world_size: The number of processes.
        streams: The number of data loading workers in this process, at least 1.
    """

    folder: Path
    index: ShardIndex
    batch_size: int
    shape: Shape
    tolerate: int = 0
    rank: int = 0
    world_size: int = 1
    streams: int = 1

    def load(self, found: Found, faults: Faults) -> Sample | None:
        """Decode a sample, or count a fault and return nothing."""
        try:
            return load_sample(found, with_mask=self.shape.with_mask, with_latents=self.shape.with_latents)
        except SampleError as error:
            faults.report(found.shard, found.key, error)
            return None


class TrainStream(IterableDataset[dict[str, Any]]):
    """One epoch of training batches.

    Args:
        source: Where samples come from.
        selection: Which are wanted.
        batches: Batches in an epoch of this rank.
        seed: Draws the order.
        resampled: Draw shards with replacement; otherwise every rank and worker goes through shards of its
            own, again and again, each time in another order.
        buffer: How many samples are shuffled among each other.
    """

    def __init__(
        self,
        source: Source,
        selection: Callable[[Found], bool],
        *,
        batches: int,
        seed: int,
        resampled: bool,
        buffer: int,
    ) -> None:
        super().__init__()
        self.source = source
        self.selection = selection
        self.batches = batches
        self.seed = seed
        self.resampled = resampled
        self.buffer = buffer
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        streams = worker.num_workers if worker is not None else 1
        # The loader asks worker 0 first, and the first batch wanted is number `start`.
        stream = ((worker.id if worker is not None else 0) + self.start) % streams
        faults = Faults(self.source.tolerate)
        draw = random.Random(f"{self.seed}:{self.epoch}:{self.source.rank}:{stream}")
        samples = self._shuffled(self._mine(stream, streams, draw, faults), draw)
        for number in range(stream, self.batches, streams):
            if number < self.start:
                for _ in range(self.source.batch_size):
                    next(samples)
            else:
                yield to_batch(self._decoded(samples, faults), self.source.shape, f"{self.seed}:{self.epoch}")

    def _decoded(self, samples: Iterator[Found], faults: Faults) -> list[Sample]:
        decoded: list[Sample] = []
        while len(decoded) < self.source.batch_size:
            sample = self.source.load(next(samples), faults)
            if sample is not None:
                decoded.append(sample)
        return decoded

    def _shuffled(self, samples: Iterator[Found | None], draw: random.Random) -> Iterator[Found]:
        """Shuffle within the buffer, and empty it where a pass over the shards ends (None)."""
        buffer: list[Found] = []
        for sample in samples:
            if sample is None:
                draw.shuffle(buffer)
                yield from buffer
                buffer = []
                continue
            buffer.append(sample)
            if len(buffer) >= self.buffer:
                chosen = draw.randrange(len(buffer))
                buffer[chosen], buffer[-1] = buffer[-1], buffer[chosen]
                yield buffer.pop()

    def _mine(self, stream: int, streams: int, draw: random.Random, faults: Faults) -> Iterator[Found | None]:
        """Yield wanted samples of this stream's shards without end, and None after each pass over them."""
        shards = self.source.index.shards
        if not self.resampled:
            shards = shards[self.source.rank * streams + stream :: self.source.world_size * streams]
        while True:
            fruitful = False
            drawn = (
                draw.choices(shards, k=len(shards)) if self.resampled else draw.sample(shards, len(shards))
            )
            for shard in drawn:
                wanted = self._wanted(shard, faults)
                fruitful = fruitful or bool(wanted)
                yield from wanted
            if not fruitful:
                self._refuse_if_empty(shards, faults)
            yield None

    def _wanted(self, shard: ShardEntry, faults: Faults) -> list[Found]:
        return [found for found in find_samples(self.source.folder, shard, faults) if self.selection(found)]

    def _refuse_if_empty(self, shards: tuple[ShardEntry, ...], faults: Faults) -> None:
        """Turn what would be an endless search into an error."""
        if not any(self._wanted(shard, faults) for shard in shards):
            raise ShardError(
                f"{self.source.folder}: none of {len(shards)} shards (from {shards[0].name} on) "
                "has a training sample that the categories can use; give more data or other categories"
            )


class EvaluationStream(IterableDataset[dict[str, Any]]):
    """Every wanted sample once, in the order of the shards; all ranks get equally many batches.

    Ranks take turns sample by sample, and a last incomplete turn is left out: unequal ranks would wait for
    each other without end.

    Args:
        source: Where samples come from.
        selection: Which are wanted.
    """

    def __init__(self, source: Source, selection: Callable[[Found], bool]) -> None:
        super().__init__()
        self.source = source
        self.selection = selection

    def __iter__(self) -> Iterator[dict[str, Any]]:
        source, faults = self.source, Faults(self.source.tolerate)
        batch: list[Sample] = []
        turn: list[Found] = []
        for found in self._mine(faults):
            # Where faults are passed over, every rank decodes everything, so that all agree on what is bad.
            if source.tolerate and source.load(found, faults) is None:
                continue
            turn.append(found)
            if len(turn) < source.world_size:
                continue
            sample = source.load(turn[source.rank], faults)
            turn = []
            if sample is not None:
                batch.append(sample)
            if len(batch) == source.batch_size:
                yield to_batch(batch, source.shape, "validation")
                batch = []
        if batch:
            yield to_batch(batch, source.shape, "validation")

    def _mine(self, faults: Faults) -> Iterator[Found]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for shard in self.source.index.shards[first::step]:
            yield from filter(self.selection, find_samples(self.source.folder, shard, faults))
