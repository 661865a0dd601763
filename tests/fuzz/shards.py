"""Shards, their members and their index as input."""

import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import torch

SHARD = "shard-000000.tar"
KEYS = ("00000", "00001")


@cache
def members() -> list[tuple[str, dict[str, bytes]]]:
    """Encode two samples with mask and latents."""
    import numpy as np

    from keyface.celeba import ATTRIBUTES
    from keyface.datamodules.shard_files.schema import Latents, Record, Sample, encode

    landmarks = np.array([[5, 6], [10, 6], [7.5, 9], [5.5, 12], [9.5, 12]], np.float32)
    latents = Latents(torch.ones(4, 2, 2), torch.ones(2, 4, 2, 2), torch.tensor([100, 200]))
    image = (np.arange(16 * 16 * 3) % 251).astype(np.uint8).reshape(16, 16, 3)
    mask = (np.arange(16 * 16) % 19).astype(np.uint8).reshape(16, 16)
    record = Record(3, "a photo of a face", {name: name == "Eyeglasses" for name in ATTRIBUTES}, landmarks)
    return [(key, encode(Sample(key, image, record, mask, latents))) for key in KEYS]


def tar_of(samples: Sequence[tuple[str, dict[str, bytes]]]) -> bytes:
    """Return a shard."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for key, parts in samples:
            for extension, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                archive.addfile(info, BytesIO(data))
    return file.getvalue()


@cache
def tars() -> list[bytes]:
    """Make one shard by the product's writer."""
    from tempfile import TemporaryDirectory

    from keyface.datamodules.shard_files.writer import write_members

    with TemporaryDirectory() as folder:
        write_members(Path(folder), SHARD, members())
        return [Path(folder, SHARD).read_bytes()]


def read_shard(folder: Path, data: bytes) -> None:
    """Verify a folder with one shard, which its index describes truly, and load what a training would."""
    from keyface.datamodules.shard_files.index import ShardEntry, ShardIndex
    from keyface.datamodules.shard_files.reader import Faults, find_samples, load_sample
    from keyface.datamodules.shard_files.schema import SampleError
    from keyface.datamodules.shard_files.verify import faults_of

    (folder / SHARD).write_bytes(data)
    index = ShardIndex((ShardEntry(SHARD, len(KEYS), len(data), sha256(data).hexdigest()),))
    lines = faults_of(folder, index)
    assert all(str(folder / SHARD) in line for line in lines)
    faults = Faults(limit=1000)
    for found in find_samples(folder, index.shards[0], faults):
        try:
            sample = load_sample(found, with_mask=True, with_latents=True)
        except SampleError:
            continue
        assert sample.latents is not None
        assert torch.isfinite(torch.from_numpy(sample.record.landmarks)).all()


def read_member(extension: str) -> Callable[[Path, bytes], None]:
    """Read a shard in which one member of a sample is the input; nothing is raised, all is counted."""

    def read(folder: Path, data: bytes) -> None:
        (key, parts), *others = members()
        read_shard(folder, tar_of([(key, {**parts, extension: data}), *others]))

    return read


@cache
def indices() -> list[bytes]:
    """Return the index of two shards."""
    from keyface.datamodules.shard_files.index import ShardEntry, ShardIndex

    entry = ShardEntry(SHARD, 2, 1024, "0" * 64)
    index = ShardIndex((entry, replace(entry, name="shard-000001.tar")), {"size": 16}, ("Freckles",))
    return [index.json().encode()]


def read_index(folder: Path, data: bytes) -> None:
    """Read an index, which names no file outside its folder."""
    from keyface.datamodules.shard_files.index import ShardIndex

    (folder / "index.json").write_bytes(data)
    index = ShardIndex.read(folder)
    assert all(Path(shard.name).name == shard.name for shard in index.shards)
    assert index.samples >= 0
    index.json()
