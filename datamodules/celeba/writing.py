"""Writes CelebA-HQ as shards: many processes convert, one writes, and an interrupted call goes on."""

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from keyface.celeba import ATTRIBUTES
from keyface.datamodules.celeba.convert import Conversion, Converted, Picture, convert, set_up_worker
from keyface.datamodules.celeba.layout import (
    Layout,
    read_attributes,
    read_identities,
    read_landmarks,
    require_all,
)
from keyface.datamodules.shard_files.index import ShardError, ShardIndex
from keyface.datamodules.shard_files.resume import finished_shards
from keyface.datamodules.shard_files.writer import shard_name, write_members
from keyface.files import require_space, sha256
from keyface.locking import alone_in

CHUNK = 16
"""Pictures that a process converts at a time."""

# At 512 pixels JPEG of quality 95 took 2.7 bits a pixel of a noisy picture, label maps .2; the rest is for
# the record, and for the tar file's headers and padding.
_PICTURE_BITS, _MASK_BITS, _RECORD_BYTES = 4, 0.5, 6_000

Run = Callable[[list[Picture], Conversion], "Future[list[Converted]]"]


@dataclass(frozen=True)
class CelebaHq:
    """What decides every byte of the shards.

    Attributes:
        layout: Where the data set is.
        count: Size of a subset drawn by the seed; None takes all pictures.
        seed: Draws subset and order.
        size: Side of the images, pixels.
        samples_per_shard: Pictures in a shard.
        landmarks: A list of landmarks; None: detected.
        identities: CelebA's list of identities; None: everybody is taken for another person.
        detector: Folder of face-api's networks, if landmarks are detected.
    """

    layout: Layout
    count: int | None = None
    seed: int = 0
    size: int = 512
    samples_per_shard: int = 500
    landmarks: Path | None = None
    identities: Path | None = None
    detector: Path | None = None

    def __post_init__(self) -> None:
        if (self.count is not None and self.count < 1) or self.samples_per_shard < 1:
            raise ShardError("count and samples_per_shard must be at least 1")
        if self.size < 16:
            raise ShardError(f"size is {self.size}, it must be at least 16 pixels")

    def pictures(self) -> list[Picture]:
        """Return the chosen pictures in their order, with what the lists say of them.

        The order is that of a hash of seed and key, so that it is the same on every machine, shards are
        mixed, and a smaller subset is the beginning of a larger one.

        Raises:
            ShardError: There are too few, or a list lacks one of them.
        """
        paths = self.layout.pictures()
        if self.count is not None and self.count > len(paths):
            raise ShardError(f"{self.layout.images}: {len(paths)} pictures, --count asks for {self.count}")
        order = sorted(paths, key=lambda key: hashlib.sha256(f"{self.seed}:{key}".encode()).digest())
        keys = order[: self.count]
        labels = read_attributes(self.layout.attributes)
        require_all(keys, labels, str(self.layout.attributes))
        marks = None if self.landmarks is None else read_landmarks(self.landmarks)
        if marks is not None:
            require_all(keys, marks, str(self.landmarks))
        if self.identities is None:
            people = {key: number for number, key in enumerate(sorted(paths))}
        else:
            people = read_identities(self.identities, self.layout.mapping)
            require_all(keys, people, str(self.identities))
        return [
            Picture(key, paths[key], labels[key], people[key], None if marks is None else marks[key])
            for key in keys
        ]

    def most_bytes(self, count: int) -> int:
        """Return how large the shards of so many pictures become at most, as a rule."""
        bits = _PICTURE_BITS + (_MASK_BITS if self.layout.masks is not None else 0)
        return count * (round(self.size**2 * bits / 8) + _RECORD_BYTES)

    def describe(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        """Return what `index.json` says about how the shards were made."""
        return {
            "by": "keyface shards celeba-hq",
            "count": len(pictures),
            "seed": self.seed,
            "size": self.size,
            "samples_per_shard": self.samples_per_shard,
            "pictures": hashlib.sha256("\n".join(each.key for each in pictures).encode()).hexdigest(),
            "attributes": sha256(self.layout.attributes),
            "masks": self.layout.masks is not None,
            "landmarks": "face-api" if self.landmarks is None else sha256(self.landmarks),
            "identities": None if self.identities is None else sha256(self.identities),
        }


@dataclass
class LeftOut:
    """Pictures that are not in the shards.

    Attributes:
        limit: How many unreadable ones are passed over.
        no_face: Keys of those in which no face was found.
        faults: What is wrong with the unreadable ones, by key.
    """

    limit: int = 0
    no_face: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)

    def keep(self, converted: Converted) -> bool:
        """Say whether a picture goes into the shards; count it if not.

        Raises:
            ShardError: More than the limit are unreadable.
        """
        if converted.no_face:
            self.no_face.append(converted.key)
        elif converted.fault:
            self.faults[converted.key] = converted.fault
            if len(self.faults) > self.limit:
                counted = f" ({len(self.faults)} faults, {self.limit} are tolerated)" if self.limit else ""
                raise ShardError(f"picture {converted.key}: {converted.fault}{counted}; see --tolerate")
        return bool(converted.members)


def write_celeba_hq(
    folder: Path,
    settings: CelebaHq,
    pictures: Sequence[Picture],
    workers: int,
    tolerate: int = 0,
    progress: Callable[[int], object] = lambda samples: None,
) -> ShardIndex:
    """Write every shard that the folder does not have yet, and its index after each of them.

    Args:
        folder: Where; made if it does not exist.
        settings: What is written.
        pictures: Of `CelebaHq.pictures`.
        workers: Processes that convert; 1 converts in this one.
        tolerate: How many unreadable pictures are left out before it is an error.
        progress: Called with the number of pictures that were converted, or found to be there.

    Returns:
        The index; its `made` names the pictures that were left out.

    Raises:
        ShardError: The folder holds other shards, or a picture cannot be read.
        ValueError: The disk has no room for them, or another process is at work in the folder.
    """
    with alone_in(folder):
        return _write(folder, settings, pictures, workers, tolerate, progress)


def _write(
    folder: Path,
    settings: CelebaHq,
    pictures: Sequence[Picture],
    workers: int,
    tolerate: int,
    progress: Callable[[int], object],
) -> ShardIndex:
    wanted = settings.describe(pictures)
    done = finished_shards(folder, wanted)
    left_to_do = max(0, len(pictures) - len(done) * settings.samples_per_shard)
    require_space(folder, settings.most_bytes(left_to_do), f"shards of {left_to_do} pictures")
    left = LeftOut(tolerate)
    if done:
        made = ShardIndex.read(folder).made
        left.no_face, left.faults = list(made.get("no_face", [])), dict(made.get("unreadable", {}))
    own = tuple(sorted({name for each in pictures for name in each.labels} - set(ATTRIBUTES)))
    step = settings.samples_per_shard
    progress(min(len(done) * step, len(pictures)))
    how = Conversion(settings.size, settings.layout.masks, settings.detector)
    with _converters(workers) as run:
        for start in range(len(done) * step, len(pictures), step):
            converted = _converted(run, pictures[start : start + step], how, 2 * workers, progress)
            kept = ((each.key, each.members) for each in converted if left.keep(each))
            done.append(write_members(folder, shard_name(len(done)), kept))
            described = {**wanted, "no_face": left.no_face, "unreadable": left.faults}
            ShardIndex(tuple(done), described, own).write(folder)
    return ShardIndex.read(folder)


@contextmanager
def _converters(workers: int) -> Iterator[Run]:
    """Give what converts pictures: processes, or this one."""
    if workers == 1:
        yield _here
        return
    # Spawned, since a forked process would inherit torch's threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=set_up_worker)
    try:
        yield lambda pictures, how: pool.submit(convert, pictures, how)
    finally:
        pool.shutdown(cancel_futures=True)


def _here(pictures: list[Picture], how: Conversion) -> "Future[list[Converted]]":
    done: Future[list[Converted]] = Future()
    done.set_result(convert(pictures, how))
    return done


def _converted(
    run: Run,
    pictures: Sequence[Picture],
    how: Conversion,
    ahead: int,
    progress: Callable[[int], object],
) -> Iterator[Converted]:
    """Convert chunk by chunk, in order, with few chunks in flight."""
    chunks = iter([list(pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)])
    waiting = deque(run(chunk, how) for chunk in islice(chunks, ahead))
    while waiting:
        try:
            results = waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ShardError(
                "a converting process was killed, perhaps for memory; use fewer --workers and repeat the "
                "call, which goes on where it was"
            ) from error
        waiting.extend(run(chunk, how) for chunk in islice(chunks, 1))
        yield from results
        progress(len(results))
