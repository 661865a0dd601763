"""Small shards, made in a temporary folder."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from keyface.celeba import ATTRIBUTES
from keyface.datamodules.shard_files.index import ShardIndex
from keyface.datamodules.shard_files.schema import Latents, Record, Sample
from keyface.datamodules.shard_files.writer import shard_name, write_shard
from keyface.files import sha256

SIDE = 16
LANDMARKS = [[5.0, 6.0], [10.0, 6.0], [7.5, 9.0], [5.5, 12.0], [9.5, 12.0]]


def sample(number: int, *, side: int = SIDE, with_latents: bool = False) -> Sample:
    """Face `number`: two of each identity, `Eyeglasses` on every second, all other labels false."""
    generator = np.random.default_rng(number)
    labels = {name: name == "Eyeglasses" and number % 2 == 1 for name in ATTRIBUTES}
    return Sample(
        key=f"{number:05d}",
        image=generator.integers(0, 256, (side, side, 3), dtype=np.uint8),
        record=Record(number // 2, f"a photo of person {number}", labels, np.array(LANDMARKS, np.float32)),
        mask=(np.arange(side * side) % 19).astype(np.uint8).reshape(side, side),
        latents=Latents(
            torch.full((4, 2, 2), float(number)),
            torch.stack([torch.full((4, 2, 2), number + level / 10) for level in (1.0, 2.0, 3.0)]),
            torch.tensor([100, 200, 300]),
        )
        if with_latents
        else None,
    )


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    """Makes the sample of a number."""
    return sample


@pytest.fixture
def make_shards(tmp_path: Path) -> Callable[..., Path]:
    """Writes shards with the given numbers of samples, and their index."""

    def make(*sizes: int, with_latents: bool = False, image_format: str = "png") -> Path:
        folder = tmp_path / "shards"
        folder.mkdir()
        first, entries = 0, []
        for number, size in enumerate(sizes):
            samples = (sample(first + i, with_latents=with_latents) for i in range(size))
            entries.append(write_shard(folder, shard_name(number), samples, image_format))
            first += size
        ShardIndex(tuple(entries), {"by": "a test"}).write(folder)
        return folder

    return make


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """Rewrites a shard's members as (name, bytes) pairs or ready TarInfos, and what the index says of it."""

    def put(
        folder: Path,
        members: list[tuple[str | tarfile.TarInfo, bytes]],
        shard: str = "shard-000000.tar",
        hashed: bool = True,
    ) -> None:
        with tarfile.open(folder / shard, "w") as archive:
            for name, data in members:
                info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        index = json.loads((folder / "index.json").read_text())
        for entry in index["shards"]:
            if entry["name"] == shard:
                entry["bytes"] = (folder / shard).stat().st_size
                if hashed:
                    entry["sha256"] = sha256(folder / shard)
        (folder / "index.json").write_text(json.dumps(index))

    return put


@pytest.fixture
def members_of() -> Callable[[Path], list[tuple[str, bytes]]]:
    """Reads a tar file's members."""

    def read(path: Path) -> list[tuple[str, bytes]]:
        with tarfile.open(path) as archive:
            return [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]

    return read
