"""How fast shards are read: keyface's reader and webdataset's, with the same decoding."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from keyface.datamodules.shard_files.batch import Shape, to_batch
from keyface.datamodules.shard_files.index import ShardIndex
from keyface.datamodules.shard_files.reader import Faults, find_samples
from keyface.datamodules.shard_files.render import LEVELS, RenderSettings, rendered_samples
from keyface.datamodules.shard_files.schema import (
    IMAGE_FORMATS,
    LATENTS,
    Latents,
    Sample,
    decode_image,
    decode_latents,
    parse_record,
)
from keyface.datamodules.shard_files.writer import shard_name, write_shard
from keyface.datamodules.shards import ShardsDataModule

Reader = Literal["keyface", "webdataset"]
READERS: tuple[Reader, ...] = ("keyface", "webdataset")
BUFFER = 1000
"""Samples that are shuffled among each other, as the datamodule does unless told otherwise."""

_RENDERED = 128
"""Side at which faces are rendered before they are enlarged, which is faster."""

_GRAIN = 6.0
"""Standard deviation of the grain, of 255, with which a rendered face takes the bytes of a photo."""

SHARDS = 20
"""As many as `keyface prepare` writes of the paper's 10,000 pictures."""


@dataclass(frozen=True)
class ReadingRequest:
    """One measurement.

    Attributes:
        reader: Whose.
        shards: The folder.
        batch_size: Samples in a batch.
        workers: Data loading processes.
        with_latents: Whether the latents are read.
    """

    reader: Reader
    shards: Path
    batch_size: int
    workers: int
    with_latents: bool


def write_full_size(
    folder: Path, count: int, size: int, progress: Callable[[int], object] = lambda samples: None
) -> None:
    """Write shards as large as those of CelebA-HQ at full size, with latents of noise.

    Args:
        folder: Where; it must exist.
        count: Number of samples.
        size: Side of the pictures, a multiple of 8.
        progress: Called with the number of samples that were written.
    """
    settings = RenderSettings(count, _RENDERED, samples_per_shard=max(1, count // SHARDS))
    entries = []
    for number, identities in enumerate(settings.shards()):
        faces = rendered_samples(identities, settings, None)
        entries.append(write_shard(folder, shard_name(number), (_as_photo(face, size) for face in faces)))
        progress(len(identities))
    ShardIndex(tuple(entries), {"by": "keyface benchmark data"}).write(folder)


def has_latents(folder: Path) -> bool:
    """Say whether the first sample of a folder of shards has latents."""
    first = ShardIndex.read(folder).shards[0]
    found = find_samples(folder, first, Faults(first.samples))
    return bool(found) and LATENTS in found[0].members


def measure(request: ReadingRequest, repeats: int) -> dict[str, Any]:
    """Measure a whole pass, and what it takes to go on in the middle of one.

    Returns:
        `samples_a_second` after the first batch; `cpu_ms` of all processes for a sample, everything included;
        `first_seconds` to the first batch; `resume_seconds` to the first batch of the second half of a pass;
        medians of the repeats.
    """
    samples = ShardIndex.read(request.shards).samples
    half = samples // request.batch_size // 2 * request.batch_size
    rates, costs, firsts, resumes = [], [], [], []
    for _ in range(repeats):
        began, before = time.perf_counter(), _cpu_seconds()
        batches = _batches(request, 0)
        next(batches)
        first = time.perf_counter()
        read = sum(len(batch["key"]) for batch in batches)
        rates.append(read / (time.perf_counter() - first))
        costs.append((_cpu_seconds() - before) * 1e3 / samples)
        firsts.append(first - began)
        began = time.perf_counter()
        batches = _batches(request, half)
        next(batches)
        resumes.append(time.perf_counter() - began)
        del batches  # ends its workers
    return {
        "reader": request.reader,
        "workers": request.workers,
        "samples": samples,
        "samples_a_second": median(rates),
        "cpu_ms": median(costs),
        "first_seconds": median(firsts),
        "resume_seconds": median(resumes),
    }


def _cpu_seconds() -> float:
    """Return what this process and its workers that have ended took."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _batches(request: ReadingRequest, start: int) -> Iterator[dict[str, Any]]:
    """Yield the batches of the rest of a pass, from a sample on."""
    if request.reader == "keyface":
        data = ShardsDataModule(
            request.shards,
            request.batch_size,
            val_fraction=0.0,
            workers=request.workers,
            with_latents=request.with_latents,
            shuffle=BUFFER,
        )
        data.setup("fit")
        loader = data.train_dataloader()
        given = start // request.batch_size
        loader.load_state_dict({**loader.state_dict(), "position": start, "given": given})
        return iter(loader)
    names = [str(request.shards / shard.name) for shard in ShardIndex.read(request.shards).shards]
    # What lies before `start` is dropped as early as it can be: after the order is made, before decoding.
    dataset = (
        webdataset.WebDataset(names, shardshuffle=len(names), detshuffle=True, seed=0)
        .shuffle(BUFFER, seed=0)
        .slice(start // max(1, request.workers), None)
        .map(_Decoded(request.with_latents))
        .batched(request.batch_size, collation_fn=_Stacked(request.with_latents))
    )
    return iter(DataLoader(dataset, batch_size=None, num_workers=request.workers))


@dataclass(frozen=True)
class _Decoded:
    """Decodes webdataset's members with the functions of keyface's reader."""

    with_latents: bool

    def __call__(self, members: dict[str, Any]) -> Sample:
        extension = next(each for each in IMAGE_FORMATS if each in members)
        return Sample(
            members["__key__"],
            decode_image(members[extension], extension),
            parse_record(members["json"]),
            latents=decode_latents(members[LATENTS]) if self.with_latents else None,
        )


@dataclass(frozen=True)
class _Stacked:
    """Stacks samples with the function of keyface's reader."""

    with_latents: bool

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        shape = Shape(samples[0].image.shape[0], with_latents=self.with_latents)
        return to_batch(samples, shape, ["0:0"] * len(samples))


def _as_photo(sample: Sample, size: int) -> Sample:
    """Enlarge a rendered face, and give it the grain of a photo and latents of noise."""
    assert sample.mask is not None, "rendered faces have one"
    draw = np.random.default_rng(sample.record.identity)
    pixels = np.asarray(Image.fromarray(sample.image).resize((size, size), Image.Resampling.BICUBIC))
    mask = np.asarray(Image.fromarray(sample.mask).resize((size, size), Image.Resampling.NEAREST))
    grain: NDArray[np.float64] = draw.normal(0.0, _GRAIN, pixels.shape)
    noise = torch.from_numpy(draw.standard_normal((LEVELS + 1, 4, size // 8, size // 8), dtype=np.float32))
    return replace(
        sample,
        image=np.clip(pixels + grain, 0, 255).astype(np.uint8),
        mask=mask,
        record=replace(sample.record, landmarks=sample.record.landmarks * (size / _RENDERED)),
        latents=Latents(noise[0], noise[1:], torch.arange(LEVELS) * 100),
    )
