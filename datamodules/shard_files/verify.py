"""Reads whole folders of shards: to find every fault, or to make the index of shards from another tool."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keyface.celeba import ATTRIBUTES
from keyface.datamodules.shard_files.index import (
    NAME,
    ShardEntry,
    ShardError,
    ShardIndex,
    local_folder,
)
from keyface.datamodules.shard_files.reader import Faults, Found, count_keys, find_samples, load_sample
from keyface.datamodules.shard_files.schema import LATENTS, MASK, SampleError
from keyface.files import sha256
from keyface.locking import alone_in

_NO_LIMIT = 1 << 62


def faults_of(
    folder: Path, index: ShardIndex, progress: Callable[[int], object] = lambda samples: None
) -> list[str]:
    """Return one line for each fault: wrong size or hash, garbage, samples that do not decode, repeated keys.

    Args:
        folder: The shards.
        index: What they should be.
        progress: Called with the number of samples read.
    """
    faults = Faults(_NO_LIMIT)
    lines: list[str] = []
    first_seen: dict[str, str] = {}
    for shard in index.shards:
        one = ShardIndex((shard,))
        try:
            one.check_sizes(folder)
            one.check_hashes(folder)
        except ShardError as error:
            lines.append(str(error))
        for found in find_samples(folder, shard, faults) if (folder / shard.name).is_file() else []:
            if found.key in first_seen:
                problem = SampleError(f"the key is also in {first_seen[found.key]}")
                faults.report(found.shard, found.key, problem)
            first_seen.setdefault(found.key, shard.name)
            if unknown := index.undeclared(found.record.attributes):
                faults.report(found.shard, found.key, SampleError(f"unknown attribute {unknown}"))
            _decode(found, faults)
        progress(shard.samples)
    return lines + [
        f"{shard}{f', sample {key!r}' if key else ''}: {what}" for (shard, key), what in faults.seen.items()
    ]


def make_index(folder: Path, made: Mapping[str, Any]) -> ShardIndex:
    """Index every tar file of a folder that has no index, and write `index.json`.

    Labels of the samples that neither CelebA nor keyface has are declared in it.

    Raises:
        ShardError: There is an index already, there are no shards, or one of them cannot be used.
        ValueError: Another process is at work in the folder.
    """
    with alone_in(local_folder(folder)):
        return _make_index(folder, made)


def _make_index(folder: Path, made: Mapping[str, Any]) -> ShardIndex:
    if (folder / NAME).exists():
        raise ShardError(f"{folder / NAME}: exists; remove it first if the shards are to be indexed again")
    entries = []
    labels: set[str] = set()
    for path in sorted(folder.glob("*.tar")):
        entry = ShardEntry(path.name, count_keys(path), path.stat().st_size, sha256(path))
        for found in find_samples(folder, entry, Faults()):
            load_sample(found)
            labels |= found.record.attributes.keys()
        entries.append(entry)
    if not entries:
        raise ShardError(f"{folder}: no tar files")
    index = ShardIndex(tuple(entries), made, tuple(sorted(labels - set(ATTRIBUTES))))
    index.write(folder)
    return ShardIndex.read(folder)


def _decode(found: Found, faults: Faults) -> None:
    try:
        load_sample(found, with_mask=MASK in found.members, with_latents=LATENTS in found.members)
    except SampleError as error:
        faults.report(found.shard, found.key, error)
