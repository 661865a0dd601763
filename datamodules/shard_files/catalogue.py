"""Where every sample of a data set lies, found once before training and held in a few arrays.

With it a sample is read by one seek, so that an order can be given to all processes and a run resumed at any
sample without reading what lies before. 200,000 samples take about 50 MB, which workers share.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_files.reader import Faults, Found, read_sample
from keyface.datamodules.shard_files.schema import MEMBERS, Sample, SampleError
from keyface.datamodules.shard_sources.sources import Shards
from keyface.plugins.category import Category


def identity_share(identity: int, seed: int) -> float:
    """Return a number in [0, 1) that depends on identity and seed only: no person is in both splits."""
    digest = hashlib.sha256(f"{seed}:{identity}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


def serves(attributes: Mapping[str, bool], categories: Sequence[Category]) -> bool:
    """Say whether an image with these labels is of use to one of the categories, or there are none."""
    return not categories or any(each.may_apply_to(attributes) for each in categories)


@dataclass(frozen=True)
class Catalogue:
    """Every readable sample, shard after shard.

    Attributes:
        shards: Where the samples are read from.
        shard: The number of each sample's shard, (N,).
        key: Its key, (N,).
        members: Offset and size of its members in the order of `MEMBERS`, (N, M, 2); -1 where it has none.
        share: `identity_share` of who is in it, (N,) in [0, 1).
        useful: Whether it serves one of the categories, (N,).
        labels: Every label that a sample has.
    """

    shards: Shards
    shard: NDArray[np.int32]
    key: NDArray[np.str_]
    members: NDArray[np.int64]
    share: NDArray[np.float64]
    useful: NDArray[np.bool_]
    labels: frozenset[str]

    @classmethod
    def of(
        cls,
        shards: Shards,
        faults: Faults,
        *,
        seed: int,
        categories: Sequence[Category] = (),
        progress: Callable[[int], object] = lambda shards: None,
    ) -> "Catalogue":
        """Find every sample.

        Args:
            shards: Where they are.
            faults: Counts what cannot be read.
            seed: Draws the split by identity.
            categories: Whom samples are to serve.
            progress: Called with the number of shards that were read.

        Raises:
            ShardError: More than is tolerated cannot be read.
        """
        found: list[Found] = []
        numbers: list[int] = []
        for number in range(len(shards)):
            here = [
                each for each in shards.samples(number, faults) if _declared(shards, number, each, faults)
            ]
            found += here
            numbers += [number] * len(here)
            progress(1)
        return cls(
            shards,
            np.array(numbers, dtype=np.int32),
            np.array([each.key for each in found], dtype=np.str_),
            np.array([_places(each) for each in found], dtype=np.int64).reshape(-1, len(MEMBERS), 2),
            np.array([identity_share(each.record.identity, seed) for each in found], dtype=np.float64),
            np.array([serves(each.record.attributes, categories) for each in found], dtype=np.bool_),
            frozenset().union(*(each.record.attributes for each in found)),
        )

    def rows(self, val_fraction: float, *, validation: bool) -> NDArray[np.int64]:
        """Return the useful samples of the validation share of the identities, or those of the rest."""
        return np.flatnonzero(((self.share < val_fraction) == validation) & self.useful)

    def load(self, row: int, *, with_mask: bool = False, with_latents: bool = False) -> Sample:
        """Decode a sample.

        Raises:
            SampleError: A member is missing or cannot be decoded.
            ShardError: Its shard cannot be fetched.
        """
        places = zip(MEMBERS, self.members[row].tolist(), strict=True)
        members = {name: (offset, size) for name, (offset, size) in places if size >= 0}
        with self.shards.open(int(self.shard[row])) as file:
            return read_sample(
                file, str(self.key[row]), members, with_mask=with_mask, with_latents=with_latents
            )

    def where(self, row: int) -> tuple[str, str]:
        """Return a sample's shard, as messages call it, and its key."""
        return self.shards.name(int(self.shard[row])), str(self.key[row])

    def require(self, rows: NDArray[np.int64]) -> None:
        """Refuse to train on nothing.

        Raises:
            ShardError: There are no rows.
        """
        if not len(rows):
            raise ShardError(
                f"{self.shards.given}: none of {len(self.shards)} shards has a training sample that the "
                "categories can use; give more data or other categories"
            )


def _places(found: Found) -> list[tuple[int, int]]:
    return [found.members.get(name, (-1, -1)) for name in MEMBERS]


def _declared(shards: Shards, number: int, found: Found, faults: Faults) -> bool:
    """Say whether the index declares a sample's own labels, or count a fault; without one all are taken."""
    unknown = shards.index.undeclared(found.record.attributes) if shards.indexed else ""
    if unknown:
        problem = SampleError(
            f"unknown attribute {unknown}; index.json declares own ones, `keyface shards index` makes it"
        )
        faults.report(shards.name(number), found.key, problem)
    return not unknown
