"""Writes shards: tar files in WebDataset's layout, whole or not at all."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from webdataset import TarWriter

from keyface.datamodules.shard_files.index import ShardEntry, ShardError
from keyface.datamodules.shard_files.schema import Sample, encode, split_name
from keyface.files import remove_leftovers, replacing, sha256


def shard_name(number: int) -> str:
    """Return a shard's file name.

    Example:
        >>> shard_name(3)
        'shard-000003.tar'
    """
    return f"shard-{number:06d}.tar"


def write_shard(folder: Path, name: str, samples: Iterable[Sample], image_format: str = "jpg") -> ShardEntry:
    """Write one shard of decoded samples and return its entry for the index.

    Args:
        folder: Where; it must exist.
        name: The shard's file name.
        samples: What it holds, in order; keys must differ.
        image_format: `jpg` (quality 95, full chroma) or `png` (lossless).
    """
    return write_members(folder, name, ((sample.key, encode(sample, image_format)) for sample in samples))


def write_members(folder: Path, name: str, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> ShardEntry:
    """Write one shard of encoded samples and return its entry for the index.

    The bytes depend on the samples alone (no times, users or machines), so equal settings give equal
    hashes. The file appears under its name only when it is complete and on the disk; what a killed process
    left of it goes.

    Args:
        folder: Where; it must exist, and nobody else writes this shard now.
        name: The shard's file name.
        samples: Key and members, extension → bytes, of each sample, in order; keys must differ.
    """
    path = folder / name
    keys: set[str] = set()
    remove_leftovers(path)
    with replacing(path) as temporary:
        with (
            temporary.open("wb") as file,
            TarWriter(file, user="", group="", encoder=False, mtime=0) as archive,
        ):
            for key, members in samples:
                if key in keys:
                    raise ShardError(f"{path}: two samples have the key {key!r}")
                keys.add(key)
                for extension in members:
                    split_name(f"{key}.{extension}")
                archive.write({"__key__": key, **members})
        if not keys:
            raise ShardError(f"{path}: no samples to write")
    return ShardEntry(name, len(keys), path.stat().st_size, sha256(path))
