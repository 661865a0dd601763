"""What the datamodule gives to Lightning: loaders that resume, and loaders that refuse to be empty."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, IterableDataset

from keyface.datamodules.shard_files.batch import Shape, to_batch
from keyface.datamodules.shard_files.catalogue import Catalogue
from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_files.order import Draw, Order
from keyface.datamodules.shard_files.reader import Faults
from keyface.datamodules.shard_files.schema import Sample, SampleError

PREFETCHED = 4
"""Batches that each worker makes ahead: a shard that is to be fetched is asked for that much earlier."""


class Batches(Dataset[dict[str, Any]]):
    """Reads the batches whose samples it is told.

    Args:
        catalogue: Where the samples are.
        shape: What a batch looks like.
        tolerate: How many unreadable samples each worker passes over.
        spares: Samples that take the place of unreadable ones, drawn from the sample's seed; without any
            these are left out.
    """

    def __init__(
        self, catalogue: Catalogue, shape: Shape, tolerate: int, spares: NDArray[np.int64] | None = None
    ) -> None:
        super().__init__()
        self.catalogue = catalogue
        self.shape = shape
        self.spares = spares
        self.faults = Faults(tolerate)

    def __getitem__(self, draws: Sequence[Draw]) -> dict[str, Any]:
        samples = [(self._sample_or_spare(draw), draw.seed) for draw in draws]
        kept = [(sample, seed) for sample, seed in samples if sample is not None]
        return to_batch([sample for sample, _ in kept], self.shape, [seed for _, seed in kept])

    def sample(self, row: int) -> Sample | None:
        """Decode a sample, or count a fault and return nothing.

        Raises:
            ShardError: More than is tolerated cannot be read.
        """
        try:
            return self.catalogue.load(
                row, with_mask=self.shape.with_mask, with_latents=self.shape.with_latents
            )
        except SampleError as error:
            self.faults.report(*self.catalogue.where(row), error)
            return None

    def _sample_or_spare(self, draw: Draw) -> Sample | None:
        sample = self.sample(draw.row)
        if self.spares is None:
            return sample
        # Drawn from what does not depend on processes and workers, as everything else.
        choice = random.Random(f"{draw.seed}:{draw.row}")
        while sample is None:
            sample = self.sample(int(self.spares[int(choice.random() * len(self.spares))]))
        return sample


@dataclass(frozen=True)
class Share:
    """Which part of each step's samples one process reads.

    Attributes:
        batch_size: Samples in a batch.
        rank: This process's number.
        world_size: The number of processes.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1

    @property
    def step(self) -> int:
        """Samples that all processes together take in a step."""
        return self.batch_size * self.world_size


class ResumableLoader:
    """Training batches that continue where a checkpoint left off; Lightning saves and restores the state.

    Args:
        batches: Reads them.
        order: Of the samples.
        share: What of them this process reads.
        workers: Data loading processes.

    Attributes:
        position: How many samples all processes were given since the run began.
    """

    def __init__(self, batches: Batches, order: Order, share: Share, workers: int) -> None:
        self.batches = batches
        self.order = order
        self.share = share
        self.workers = workers
        self.position = 0
        self._given = 0
        self._resumed_after = 0

    def __len__(self) -> int:
        return max(1, len(self.order) // self.share.step)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # Lightning counts batches of an epoch: with other numbers of them, its epochs end elsewhere, and the
        # samples go on all the same.
        self._given = self._resumed_after if self._resumed_after < len(self) else 0
        self._resumed_after = 0
        share = self.share
        draws = self.order.batches(self.position, share.batch_size, share.rank, share.world_size)
        left = (next(draws) for _ in range(len(self) - self._given))
        for batch in load_batches(self.batches, self.workers, left):
            self._given += 1
            self.position += share.step
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return where all processes are, and what the order depends on."""
        share = {"batch_size": self.share.batch_size, "world_size": self.share.world_size}
        return {"position": self.position, "given": self._given, **share, **self._order()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue with the sample after those that the state says were given.

        Raises:
            ShardError: The state is of an older keyface.
        """
        if "position" not in state:
            raise ShardError(
                "the checkpoint is of an older keyface, whose order of samples is another: begin anew, or "
                "from its export"
            )
        if changed := [name for name, value in self._order().items() if state[name] != value]:
            rank_zero_warn(
                f"{', '.join(changed)} changed since the checkpoint: training goes on with other "
                "samples than an uninterrupted run would have seen"
            )
        elif state["batch_size"] * state["world_size"] != self.share.step:
            rank_zero_info(
                f"steps of {self.share.step} samples, before of {state['batch_size'] * state['world_size']}: "
                "training goes on with the samples that are left of this pass"
            )
        self.position, self._resumed_after = state["position"], state["given"]

    def _order(self) -> dict[str, int]:
        return {"seed": self.order.seed, "shuffle": self.order.buffer, "samples": len(self.order)}


class EvaluationLoader:
    """Every sample once, in the order of the shards; none at all is an error.

    Processes take turns sample by sample, and a last incomplete turn is left out: unequal processes would
    wait for each other without end.

    Args:
        batches: Reads them.
        rows: The samples.
        share: What of them this process reads.
        workers: Data loading processes.
    """

    def __init__(self, batches: Batches, rows: NDArray[np.int64], share: Share, workers: int) -> None:
        self.batches = batches
        self.rows = rows
        self.share = share
        self.workers = workers

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = self.rows.tolist()
        if self.batches.faults.limit:  # every process decodes everything, so that all agree on what is bad
            rows = [row for row in rows if self.batches.sample(row) is not None]
        share = self.share
        turns = len(rows) // share.world_size
        mine = [
            Draw(row, "validation") for row in rows[share.rank : turns * share.world_size : share.world_size]
        ]
        if not mine:
            raise ShardError(
                f"{self.batches.catalogue.shards.given}: no validation sample; raise val_fraction or "
                "give more identities"
            )
        size = share.batch_size
        draws = (mine[start : start + size] for start in range(0, len(mine), size))
        yield from load_batches(self.batches, self.workers, draws)


class _Guarded(Dataset[dict[str, Any] | ShardError]):
    """Hands errors over as values: raised in a worker, they would come out wrapped in its traceback."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def __getitem__(self, draws: Sequence[Draw]) -> dict[str, Any] | ShardError:
        try:
            return self.batches[draws]
        except (ShardError, SampleError) as error:
            return ShardError(str(error))


class _GuardedStream(IterableDataset[dict[str, Any] | ShardError]):
    """The same for a stream, which chooses its samples itself."""

    def __init__(self, stream: IterableDataset[dict[str, Any]]) -> None:
        super().__init__()
        self.stream = stream

    def __iter__(self) -> Iterator[dict[str, Any] | ShardError]:
        try:
            yield from self.stream
        except (ShardError, SampleError) as error:
            yield ShardError(str(error))


def load_batches(
    batches: Batches | IterableDataset[dict[str, Any]],
    workers: int,
    draws: Iterable[Sequence[Draw]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Load batches, here or in workers; errors come out as they are.

    Args:
        batches: Reads them; or a stream of them.
        workers: Data loading processes; 0 loads here.
        draws: The samples of each batch, in order; None for a stream.
    """
    loader: DataLoader[dict[str, Any] | ShardError] = DataLoader(
        _Guarded(batches) if isinstance(batches, Batches) else _GuardedStream(batches),
        batch_size=None,
        sampler=draws,
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        pin_memory=torch.cuda.is_available(),
        # It draws a seed for its workers at each start; from this, and not from what a training draws from.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, ShardError):
            raise batch
        yield batch
