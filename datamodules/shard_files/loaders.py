"""What the datamodule gives to Lightning: loaders that resume, and loaders that refuse to be empty."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, IterableDataset

from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_files.schema import SampleError
from keyface.datamodules.shard_files.streams import EvaluationStream, TrainStream


class ResumableLoader:
    """Training batches that continue where a checkpoint left off; Lightning saves and restores the state.

    Args:
        stream: What is loaded.
        workers: Data loading processes.
    """

    def __init__(self, stream: TrainStream, workers: int) -> None:
        self.stream = stream
        self.workers = workers
        self.given = 0

    def __len__(self) -> int:
        return self.stream.batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.stream.epoch, self.stream.start = divmod(self.given, self.stream.batches)
        for batch in load_batches(self.stream, self.workers):
            self.given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches were given since the run began, and what their order depends on."""
        return {"given": self.given, **self._order()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after as many batches as the state says."""
        changed = [name for name, value in self._order().items() if state[name] != value]
        if changed:
            rank_zero_warn(
                f"{', '.join(changed)} changed since the checkpoint: training goes on with other "
                "batches than an uninterrupted run would have seen"
            )
        self.given = state["given"]

    def _order(self) -> dict[str, int]:
        source = self.stream.source
        return {
            "batch_size": source.batch_size,
            "workers": self.workers,
            "world_size": source.world_size,
            "seed": self.stream.seed,
            "samples": source.index.samples,
        }


class NonEmptyLoader:
    """Evaluation batches; none at all is an error instead of an evaluation that measured nothing.

    Args:
        stream: What is loaded.
        workers: Data loading processes.
    """

    def __init__(self, stream: EvaluationStream, workers: int) -> None:
        self.stream = stream
        self.workers = workers

    def __iter__(self) -> Iterator[dict[str, Any]]:
        empty = True
        for batch in load_batches(self.stream, self.workers):
            empty = False
            yield batch
        if empty:
            raise ShardError(
                f"{self.stream.source.folder}: no validation sample; raise val_fraction or "
                "give more identities"
            )


class _Guarded(IterableDataset[dict[str, Any] | ShardError]):
    """Hands errors over as values: raised in a worker, they would come out wrapped in its traceback."""

    def __init__(self, stream: IterableDataset[dict[str, Any]]) -> None:
        super().__init__()
        self.stream = stream

    def __iter__(self) -> Iterator[dict[str, Any] | ShardError]:
        try:
            yield from self.stream
        except (ShardError, SampleError) as error:
            yield ShardError(str(error))


def load_batches(stream: IterableDataset[dict[str, Any]], workers: int) -> Iterator[dict[str, Any]]:
    """Load the batches that a stream makes, here or in workers; its errors come out as they are."""
    # The stream makes whole batches, so that batch numbers are in one place.
    loader: DataLoader[dict[str, Any] | ShardError] = DataLoader(
        _Guarded(stream), batch_size=None, num_workers=workers, pin_memory=torch.cuda.is_available()
    )
    for batch in loader:
        if isinstance(batch, ShardError):
            raise batch
        yield batch
