"""Fills shards with rendered faces of the miniature, one shard at a time, so that work can stop and go on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from keyface.datamodules.shard_files.index import ShardError, ShardIndex
from keyface.datamodules.shard_files.resume import finished_shards
from keyface.datamodules.shard_files.schema import Latents, Record, Sample
from keyface.datamodules.shard_files.writer import shard_name, write_shard
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inverted_images import invert_images, kept_levels
from keyface.locking import alone_in
from keyface.miniature.population import captions, world
from keyface.miniature.rendering import renderer
from keyface.pictures import to_uint8

BATCH = 16
LEVELS = 8
"""How many noise levels of each face's inversion are kept."""


@dataclass(frozen=True)
class RenderSettings:
    """What decides every byte of the shards; equal settings give equal files.

    Attributes:
        count: The number of faces; each is another identity.
        size: Side of the images in pixels.
        seed: Draws attributes and poses.
        first_identity: The identity of the first face; those from `world.HELD_OUT` on are for evaluation.
        samples_per_shard: Faces in a shard.
        rates: How often labels are drawn, see `world.DEFAULT_RATES`.
        latents: Steps of the DDIM inversion whose latents are stored; 0 stores none.
    """

    count: int
    size: int = 256
    seed: int = 0
    first_identity: int = 0
    samples_per_shard: int = 500
    rates: Mapping[str, float] = field(default_factory=dict)
    latents: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.samples_per_shard < 1 or self.first_identity < 0 or self.latents < 0:
            raise ShardError(
                "count and samples_per_shard must be at least 1, first_identity and latents at least 0"
            )
        if self.size < 16:
            raise ShardError(f"size is {self.size}, it must be at least 16 pixels")
        unknown = set(self.rates) - set(world.DEFAULT_RATES)
        if unknown:
            raise ShardError(f"unknown rates {sorted(unknown)}, known are {sorted(world.DEFAULT_RATES)}")

    def shards(self) -> list[range]:
        """Return the identities of each shard."""
        last = self.first_identity + self.count
        starts = range(self.first_identity, last, self.samples_per_shard)
        return [range(start, min(start + self.samples_per_shard, last)) for start in starts]

    def describe(self) -> dict[str, Any]:
        """Return what `index.json` says about how the shards were made."""
        return {"by": "keyface shards render", **asdict(self)}


def render_shards(
    folder: Path,
    settings: RenderSettings,
    backbone: Callable[[], Backbone] | None = None,
    progress: Callable[[int], object] = lambda samples: None,
    device: torch.device | str = "cpu",
) -> ShardIndex:
    """Render every shard that the folder does not have yet, and its index.

    The index is written after each shard, so an interrupted call goes on where it was.

    Args:
        folder: Where; made if it does not exist.
        settings: What is rendered.
        backbone: Gives the frozen base for the latents; called only if there are any to compute.
        progress: Called with the number of samples that were written, or found to be there.
        device: Renders the pictures; two devices may differ in the last bit of a few pixels.

    Raises:
        ShardError: The folder holds shards that were made with other settings.
        ValueError: Another process is at work in it.
    """
    with alone_in(folder):
        return _render(folder, settings, backbone, progress, device)


def _render(
    folder: Path,
    settings: RenderSettings,
    backbone: Callable[[], Backbone] | None,
    progress: Callable[[int], object],
    device: torch.device | str,
) -> ShardIndex:
    done = finished_shards(folder, settings.describe())
    base = backbone() if settings.latents and backbone is not None else None
    for number, identities in enumerate(settings.shards()):
        if number < len(done):
            progress(len(identities))
            continue
        samples = _counted(rendered_samples(identities, settings, base, device), progress)
        done.append(write_shard(folder, shard_name(number), samples))
        ShardIndex(tuple(done), settings.describe()).write(folder)
    return ShardIndex(tuple(done), settings.describe())


def _counted(samples: Iterator[Sample], progress: Callable[[int], object]) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        progress(1)


def rendered_samples(
    identities: range, settings: RenderSettings, base: Backbone | None, device: torch.device | str = "cpu"
) -> Iterator[Sample]:
    """Render the samples of a shard, with latents where there is a base to make them."""
    for start in range(identities.start, identities.stop, BATCH):
        ids = torch.arange(start, min(start + BATCH, identities.stop))
        faces = world.draw_faces(ids, settings.seed, settings.rates)
        rendering = renderer.render(faces.to(device), settings.size)
        image, mask, landmarks = (
            each.cpu() for each in (rendering.image, rendering.mask, rendering.landmarks)
        )
        labels = world.true_labels(faces)
        texts = captions.write_captions(faces)
        pixels = to_uint8(image).permute(0, 2, 3, 1)
        inverted = [None] * len(ids) if base is None else _latents(base, image, texts, settings.latents)
        for row, identity in enumerate(ids.tolist()):
            record = Record(
                identity=identity,
                caption=texts[row],
                attributes={name: bool(held[row]) for name, held in labels.items()},
                landmarks=landmarks[row].numpy(),
            )
            sample = Sample(f"{identity:08d}", pixels[row].numpy(), record, mask[row].numpy())
            yield replace(sample, latents=inverted[row])


def _latents(base: Backbone, images: Tensor, texts: list[str], steps: int) -> list[Latents | None]:
    """Invert images (B, 3, H, W) with their captions; keep `LEVELS` levels spread evenly over the grid."""
    found = invert_images(base, images, texts, steps, kept_levels(steps, LEVELS))
    latent, inverted = found.latent.cpu(), found.inverted.cpu()
    return [Latents(latent[row], inverted[row], found.timesteps) for row in range(len(images))]
