"""The order in which training sees samples: one for all processes, so that any number can go on with it.

Passes over the samples follow each other without a gap; a position counts from the first sample of the first
pass. Which sample stands at a position depends on the data, the seed and the buffer alone. Processes and
workers take turns at the positions, so a run that is resumed with other numbers of them goes on with the very
samples that are left.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

_Item = TypeVar("_Item")

LANES = 8
"""How many shards are read side by side. Process r of R takes the positions r, r + R, …, so up to as many
processes as lanes read shards of their own, and a cache need not hold more than a shard a lane."""


class Draw(NamedTuple):
    """A sample that is to be read: its row in the catalogue, and what seeds the choice among its latents."""

    row: int
    seed: str


@dataclass(frozen=True)
class Order:
    """The order of training samples.

    Attributes:
        rows: The training samples, as rows of the catalogue, at least one.
        shards: The shard of each, as long as `rows`; samples of one shard stand together.
        seed: Draws the order of each pass.
        buffer: How many samples are shuffled among each other, at least 1.
    """

    rows: NDArray[np.int64]
    shards: NDArray[np.int32]
    seed: int
    buffer: int
    _passes: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def draws(self, positions: Sequence[int]) -> list[Draw]:
        """Return what stands at positions."""
        split = [divmod(position, len(self.rows)) for position in positions]
        return [Draw(int(self._pass(number)[index]), f"{self.seed}:{number}") for number, index in split]

    def batches(
        self, start: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[list[Draw]]:
        """Yield one process's batches without end, from a position on that no process has taken."""
        while True:
            taken = range(start + rank, start + batch_size * world_size, world_size)
            yield self.draws(taken)
            start += batch_size * world_size

    def _pass(self, number: int) -> NDArray[np.int64]:
        if number not in self._passes:
            for old in [each for each in self._passes if each < number - 1]:
                del self._passes[old]
            self._passes[number] = self.rows[self._permutation(number)]
        return self._passes[number]

    def _permutation(self, number: int) -> NDArray[np.int64]:
        """Return a pass's order, (N,) indices into `rows`.

        Shards in random order are dealt to the lanes, always to the shortest; each lane's samples move by at
        most its share of the buffer; then the lanes take turns.
        """
        # Of Python's generator only `random` gives the same numbers in every version.
        draw = random.Random(f"{self.seed}:{number}")
        names, first = np.unique(self.shards, return_index=True)
        borders = [*sorted(first.tolist()), len(self.shards)]
        runs = [range(*pair) for pair in pairwise(borders)]
        lanes: list[list[int]] = [[] for _ in range(min(LANES, len(names)))]
        for run in _sorted_by(runs, [draw.random() for _ in runs]):
            min(lanes, key=len).extend(run)
        moves = max(1, self.buffer // len(lanes))
        shuffled = [
            _sorted_by(lane, [place + moves * draw.random() for place in range(len(lane))]) for lane in lanes
        ]
        turn = np.concatenate([np.arange(len(lane)) for lane in shuffled])
        return np.concatenate([np.asarray(lane) for lane in shuffled])[np.argsort(turn, kind="stable")]


def _sorted_by(items: Sequence[_Item], keys: Sequence[float]) -> list[_Item]:
    return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]
