"""`keyface shards`: write training data of the miniature, and check shards of any origin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyface.diffusion.backbone import Backbone


def render(
    out: Path = Path("runs/shards"),
    count: int = 10_000,
    size: int = 128,
    seed: int = 0,
    samples_per_shard: int = 500,
    first_identity: int = 0,
    rates: dict[str, float] | None = None,
    latents: int = 0,
) -> None:
    """Render faces of the miniature into shards with an index; an interrupted call can be repeated.

    Args:
        out: Folder to write.
        count: Number of faces, each of another identity.
        size: Side of the images in pixels.
        seed: Draws attributes and poses.
        samples_per_shard: Faces in a shard.
        first_identity: Identity of the first face; from 1000000 on they are kept for evaluation.
        rates: How often labels are drawn, as in '{Eyeglasses: 0.4}'; the others keep their rates.
        latents: Also store the autoencoder's latents and DDIM-inverted ones, made with this many steps.
    """
    from tqdm import tqdm

    from keyface.datamodules.shard_render import Rendered, render_shards

    settings = Rendered(count, size, seed, first_identity, samples_per_shard, rates or {}, latents)
    with tqdm(total=count, desc=f"render {out}", unit="face") as bar:
        index = render_shards(out, settings, _frozen_base, progress=bar.update)
    print(f"{out}: {index.samples} faces in {len(index.shards)} shards, {index.bytes / 1e6:.1f} MB")


def verify(shards: Path) -> None:
    """Read everything in a folder of shards and report every fault.

    Checks sizes and SHA-256 against index.json, then decodes every member of every sample.

    Args:
        shards: Folder of shards.
    """
    from tqdm import tqdm

    from keyface.datamodules.shard_index import ShardError, ShardIndex
    from keyface.datamodules.shard_verify import faults_of

    index = ShardIndex.read(shards)
    with tqdm(total=index.samples, desc=f"verify {shards}", unit="sample") as bar:
        faults = faults_of(shards, index, progress=bar.update)
    for fault in faults:
        print(fault)
    if faults:
        raise ShardError(f"{shards}: {len(faults)} faults, listed above; render or copy those shards again")
    print(f"{shards}: {index.samples} samples in {len(index.shards)} shards are as index.json says")


def index(shards: Path, made_by: str = "unknown") -> None:
    """Write index.json for shards that another tool made.

    Args:
        shards: Folder of shards in keyface's schema.
        made_by: How they were made, for the record.
    """
    from keyface.datamodules.shard_verify import make_index

    made = make_index(shards, {"by": made_by})
    print(f"{shards}: indexed {made.samples} samples in {len(made.shards)} shards, {made.bytes / 1e6:.1f} MB")


def _frozen_base() -> Backbone:
    from keyface.miniature import zoo

    return zoo.backbone()
