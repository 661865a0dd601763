"""`keyface prepare`: from CelebAMask-HQ's folder to shards that both branches train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

LATENT_BYTES = 600_000
"""Of a picture of 512 pixels with 8 inverted levels."""

TRAINING = ("arcface", "clip-vit-b-16", "cosface", "facenet", "face-api", "clip-vit-b-32-laion")
"""What configs/identity.yaml and configs/direction.yaml ask for beside the base, to train and to judge."""


def prepare(
    images: Path,
    lightning: Callable[[Sequence[str]], int],
    output: Path = Path("data/celeba-hq"),
    backbone: str = "stable-diffusion-2-1-base",
    captioner: str = "blip2",
    landmarks: Path | None = None,
    identities: Path | None = None,
    count: int | None = 10_000,
    size: int = 512,
    seed: int = 0,
    samples_per_shard: int = 500,
    batch_size: int = 8,
    workers: int = 2,
    steps: int = 50,
    levels: int = 8,
    accelerator: str = "auto",
    devices: str = "auto",
    precision: str = "auto",
    runs: Path = Path("runs"),
) -> int:
    """Make training data of CelebAMask-HQ: shards, captions, inverted latents, and a check of it all.

    Short for `keyface shards celeba-hq`, `keyface caption`, `keyface shards invert` and `keyface shards
    verify`, each of which has more options. What is done already is passed over, so a stopped call is
    repeated. Weights that are missing, for this and for the fits after it, are listed first, all together.

    Args:
        images: The folder CelebAMask-HQ as it is published.
        lightning: Runs a `lightning` command line and returns its exit status.
        output: Folder of the shards.
        backbone: Inverts: a name of `keyface weights list`, a folder or a safetensors file.
        captioner: blip2, blip2:FOLDER, or miniature, for rendered faces.
        landmarks: Five landmarks of each picture; by default face-api detects them.
        identities: CelebA's identity_CelebA.txt; by default everybody is taken for another person.
        count: How many pictures, 10000 in the paper; null takes all.
        size: Side of the images in pixels.
        seed: Draws subset and order.
        samples_per_shard: Pictures in a shard.
        batch_size: Images a batch, on each device.
        workers: Data loading processes of each device.
        steps: Steps of the inversion.
        levels: How many noise levels of each image are kept.
        accelerator: cpu, gpu or auto.
        devices: How many, or auto for all.
        precision: Of captioner and base: auto is bfloat16 on a GPU; float32, bfloat16 or float16.
        runs: Folder of the runs' records.
    """
    from keyface.commands.data import shards
    from keyface.commands.data.caption import caption
    from keyface.commands.data.prediction import precision_on
    from keyface.datamodules.celeba.layout import Layout
    from keyface.datamodules.celeba.writing import CelebaHq
    from keyface.datamodules.shard_files.index import NAME, ShardIndex
    from keyface.files import require_folder, require_space
    from keyface.progress import say

    require_weights(backbone, captioner, detects=landmarks is None)
    dtype = precision_on(accelerator, precision)
    chosen = CelebaHq(Layout.find(images), count, seed, size, samples_per_shard, landmarks, identities)
    pictures = len(chosen.pictures())
    require_folder(output)
    latents = round(pictures * LATENT_BYTES * (size / 512) ** 2)
    if not (output / NAME).is_file():
        whole = chosen.most_bytes(pictures) + latents
        require_space(output, whole, f"{pictures} pictures with their latents")
    # It passes over the shards that are there, and refuses those of other pictures.
    shards.celeba_hq(
        output, images, landmarks=landmarks, identities=identities, count=count, seed=seed, size=size,
        samples_per_shard=samples_per_shard,
    )  # fmt: skip
    if "captioned" in ShardIndex.read(output).made:
        say(f"{output}: the captions are there")
    elif status := caption(
        output,
        lightning,
        captioner,
        dtype=dtype,
        batch_size=batch_size,
        workers=workers,
        runs=runs,
        accelerator=accelerator,
        devices=devices,
    ):
        return status
    if "inverted" in ShardIndex.read(output).made:
        say(f"{output}: the inverted latents are there")
    elif status := shards.invert(
        output, lightning, backbone, steps, levels, batch_size=batch_size, workers=workers,
        precision=dtype, runs=runs, accelerator=accelerator,
        devices=devices,
    ):  # fmt: skip
        return status
    shards.verify(output)
    data = "" if output == Path("data/celeba-hq") else f" --data.init_args.shards {output}"
    for branch in ("identity", "direction"):
        say(f"next: lightning fit -c base.yaml -c {branch}.yaml{data}")
    return 0


def require_weights(backbone: str, captioner: str, detects: bool) -> None:
    """Refuse to begin where weights are missing that this command, or the fits after it, need.

    Args:
        backbone: As `prepare` takes it.
        captioner: Likewise.
        detects: Whether landmarks are detected.

    Raises:
        MissingWeightsError: Some are; all are listed.
    """
    from keyface.weights import Store, catalogue

    known = catalogue()
    needed = [name for name in (backbone, captioner) if name in known]
    needed += ["face-api"] if detects else []
    # With a base of one's own the fits' other networks are one's own, too.
    needed += [name for name in TRAINING if backbone in known]
    Store().require(dict.fromkeys(needed))
