"""Turns decoded samples into the batch that the training modules know."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from keyface.datamodules.shard_files.schema import Latents, Sample, SampleError
from keyface.pictures import from_uint8


@dataclass(frozen=True)
class Shape:
    """What a batch holds.

    Attributes:
        image_size: Side of the images in pixels.
        with_mask: Whether the label maps are read.
        with_latents: Whether the latents are read; they belong to images of their own size only.
    """

    image_size: int
    with_mask: bool = False
    with_latents: bool = False


def to_batch(samples: Sequence[Sample], shape: Shape, seeds: Sequence[str]) -> dict[str, Any]:
    """Stack samples.

    Args:
        samples: B samples.
        shape: What is wanted of them.
        seeds: One for each sample, which draws, with its key, the one of its inverted latents.

    Returns:
        `image` (B, 3, S, S) in [-1, 1], `caption` B texts, `attributes` B dictionaries, `landmarks`
        (B, 5, 2) in pixels of S, `identity` (B,) int64, `key` B texts; if wanted `mask` (B, S, S)
        uint8, `latent` and `inverted` (B, C, h, w) and `timestep` (B,) int64.
    """
    size = shape.image_size
    batch: dict[str, Any] = {
        # Stacked as bytes: stacking floats would copy four times as much.
        "image": from_uint8(torch.stack([_pixels(sample.image, size) for sample in samples])),
        "caption": [sample.record.caption for sample in samples],
        "attributes": [dict(sample.record.attributes) for sample in samples],
        "landmarks": torch.stack([_landmarks(sample, size) for sample in samples]),
        "identity": torch.tensor([sample.record.identity for sample in samples], dtype=torch.int64),
        "key": [sample.key for sample in samples],
    }
    if shape.with_mask:
        batch["mask"] = torch.stack([_mask(sample, size) for sample in samples])
    if shape.with_latents:
        latents = [_latents(sample, size) for sample in samples]
        drawn = [
            random.Random(f"{seed}:{sample.key}").randrange(len(item.timesteps))
            for sample, item, seed in zip(samples, latents, seeds, strict=True)
        ]
        batch["latent"] = torch.stack([item.latent for item in latents])
        batch["inverted"] = torch.stack([item.inverted[k] for item, k in zip(latents, drawn, strict=True)])
        batch["timestep"] = torch.stack([item.timesteps[k] for item, k in zip(latents, drawn, strict=True)])
    return batch


def image_tensor(pixels: NDArray[np.uint8], size: int) -> Tensor:
    """Turn (H, H, 3) uint8 into (3, size, size) in [-1, 1], resized with antialiasing where H differs."""
    return from_uint8(_pixels(pixels, size))


def _pixels(pixels: NDArray[np.uint8], size: int) -> Tensor:
    if pixels.shape[0] != size:
        pixels = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _landmarks(sample: Sample, size: int) -> Tensor:
    # A pixel's coordinate is its centre's, so the edges of the image lie half a pixel outside of 0.
    scale = size / sample.image.shape[0]
    landmarks: Tensor = torch.from_numpy(sample.record.landmarks.copy())
    scaled: Tensor = (landmarks + 0.5) * scale - 0.5
    return scaled


def _mask(sample: Sample, size: int) -> Tensor:
    assert sample.mask is not None, "read with with_mask"
    mask = sample.mask
    if mask.shape[0] != size:
        mask = np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
    return torch.from_numpy(mask.copy())


def _latents(sample: Sample, size: int) -> Latents:
    assert sample.latents is not None, "read with with_latents"
    if sample.image.shape[0] != size:
        raise SampleError(
            f"sample {sample.key!r}: its latents belong to {sample.image.shape[0]} pixels, image_size is "
            f"{size}; set image_size to that or with_latents to false"
        )
    return sample.latents
