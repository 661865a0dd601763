"""`keyface shards`: write training data, rendered or CelebA-HQ, and check shards of any origin."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyface.diffusion.backbone import Backbone


def render(
    output: Path = Path("runs/shards"),
    count: int = 10_000,
    size: int = 256,
    seed: int = 0,
    samples_per_shard: int = 500,
    first_identity: int = 0,
    rates: dict[str, float] | None = None,
    latents: int = 0,
    device: str = "cpu",
) -> None:
    """Render faces of the miniature into shards with an index; an interrupted call can be repeated.

    Args:
        output: Folder to write.
        count: Number of faces, each of another identity.
        size: Side of the images in pixels.
        seed: Draws attributes and poses.
        samples_per_shard: Faces in a shard.
        first_identity: Identity of the first face; from 1000000 on they are kept for evaluation.
        rates: How often labels are drawn, as in '{Eyeglasses: 0.4}'; the others keep their rates.
        latents: Also store the autoencoder's latents and DDIM-inverted ones, made with this many steps.
        device: cpu, cuda, or auto, for the pictures; two devices may differ in the last bit of a few pixels.
    """
    from keyface.datamodules.shard_files.render import RenderSettings, render_shards
    from keyface.diffusion.device import choose_device
    from keyface.progress import bar

    settings = RenderSettings(count, size, seed, first_identity, samples_per_shard, rates or {}, latents)
    chosen = choose_device(device, "--device")
    with bar(f"render {output}", count, "face") as advance:
        index = render_shards(output, settings, _frozen_base, progress=advance, device=chosen)
    print(f"{output}: {index.samples} faces in {len(index.shards)} shards, {index.bytes / 1e6:.1f} MB")


def celeba_hq(
    output: Path = Path("data/celeba-hq"),
    images: Path = Path("CelebAMask-HQ"),
    attributes: Path | None = None,
    masks: Path | None = None,
    landmarks: Path | None = None,
    identities: Path | None = None,
    mapping: Path | None = None,
    count: int | None = None,
    seed: int = 0,
    size: int = 512,
    samples_per_shard: int = 500,
    workers: int = 0,
    tolerate: int = 0,
) -> None:
    """Write CelebA-HQ as shards with an index; an interrupted call can be repeated.

    Captions are made of the labels, until `keyface caption` looks at the pictures.

    Args:
        output: Folder to write.
        images: The folder CelebAMask-HQ as it is published, its CelebA-HQ-img, or any folder of square
            pictures with one face each.
        attributes: The 40 labels of each picture: CelebAMask-HQ-attribute-anno.txt, list_attr_celeba.txt or
            the like, also as CSV; found by itself in CelebAMask-HQ.
        masks: Folder of CelebAMask-HQ's masks, or of one map of class ids a picture; found by itself in
            CelebAMask-HQ; without it the shards hold no masks.
        landmarks: Five landmarks of each picture, in the format of list_landmarks_align_celeba.txt, pixels of
            the picture; by default they are detected by face-api (`keyface weights get face-api`).
        identities: CelebA's identity_CelebA.txt; by default everybody is taken for another person.
        mapping: CelebA-HQ-to-CelebA-mapping.txt, for identities; found by itself in CelebAMask-HQ.
        count: Size of a subset drawn by the seed, 10000 in the paper; by default all pictures.
        seed: Draws subset and order.
        size: Side of the images in pixels.
        samples_per_shard: Pictures in a shard.
        workers: Processes; 0 takes as many as there are cores.
        tolerate: How many unreadable pictures are left out before it is an error.
    """
    from keyface.datamodules.celeba.layout import Layout
    from keyface.datamodules.celeba.writing import CelebaHq, write_celeba_hq
    from keyface.progress import bar
    from keyface.weights import Store

    layout = Layout.find(images, attributes, masks, mapping)
    detector = Store().require(["face-api"])["face-api"] if landmarks is None else None
    settings = CelebaHq(layout, count, seed, size, samples_per_shard, landmarks, identities, detector)
    pictures = settings.pictures()
    print(f"{output}: {len(pictures)} pictures, up to {settings.most_bytes(len(pictures)) / 1e6:,.0f} MB")
    cores = workers or len(os.sched_getaffinity(0))
    with bar(f"convert {layout.images}", len(pictures), "image") as advance:
        index = write_celeba_hq(output, settings, pictures, cores, tolerate, progress=advance)
    no_face, unreadable = len(index.made["no_face"]), len(index.made["unreadable"])
    left_out = (
        f"; left out: {no_face} without a face, {unreadable} unreadable" if no_face + unreadable else ""
    )
    print(
        f"{output}: {index.samples} of {len(pictures)} pictures in {len(index.shards)} shards, "
        f"{index.bytes / 1e6:.1f} MB{left_out}"
    )


def invert(
    shards: Path,
    lightning: Callable[[Sequence[str]], int],
    backbone: str = "miniature",
    steps: int = 50,
    levels: int = 8,
    lowest: float = 0.0,
    highest: float = 1.0,
    batch_size: int = 8,
    workers: int = 2,
    overwrite: bool = False,
    accelerator: str = "auto",
    devices: str = "auto",
    nodes: int = 1,
    precision: str = "auto",
    runs: Path = Path("runs"),
) -> int:
    """Write latents and inverted latents of the frozen base into shards; an interrupted call can be repeated.

    Captions come first (`keyface caption`), since the inversion reads them. Short for `lightning predict -c
    configs/invert.yaml`, whose every value can be set there. An image of 512 pixels takes about 0.6 MB.

    Args:
        shards: Folder of shards.
        lightning: Runs a `lightning` command line and returns its exit status.
        backbone: miniature, a name of `keyface weights list`, a folder or a safetensors file.
        steps: Steps of the inversion.
        levels: How many noise levels of each image are kept; training draws one of them.
        lowest: The levels lie above this fraction of the steps.
        highest: The noisiest level, as a fraction of the steps; 1 is pure noise.
        batch_size: Images a batch, on each device.
        workers: Data loading processes of each device.
        overwrite: Also where there are latents.
        accelerator: cpu, gpu or auto.
        devices: How many, or auto for all.
        nodes: Number of machines.
        precision: Of the networks: float32, bfloat16 or float16; auto is bfloat16 on a GPU. Latents and the
            schedule's arithmetic stay in fp32.
        runs: Folder of the run's record.
    """
    from keyface.commands.data.prediction import PRECISIONS, precision_on, predict

    model = {"backbone": backbone, "steps": steps, "levels": levels, "lowest": lowest, "highest": highest}
    values = {f"model.init_args.{name}": value for name, value in model.items()}
    data = {"shards": shards, "batch_size": batch_size, "workers": workers, "overwrite": overwrite}
    trainer = {
        "accelerator": accelerator,
        "devices": devices,
        "num_nodes": nodes,
        "precision": PRECISIONS[precision_on(accelerator, precision)],
    }
    return predict(lightning, "invert", runs, values, data, trainer)


def verify(shards: Path) -> None:
    """Read everything in a folder of shards and report every fault.

    Checks sizes and SHA-256 against index.json, then decodes every member of every sample.

    Args:
        shards: Folder of shards.
    """
    from keyface.datamodules.shard_files.index import ShardError, ShardIndex
    from keyface.datamodules.shard_files.verify import faults_of
    from keyface.progress import bar

    index = ShardIndex.read(shards)
    with bar(f"verify {shards}", index.samples, "sample") as advance:
        faults = faults_of(shards, index, progress=advance)
    for fault in faults:
        print(fault)
    if faults:
        raise ShardError(f"{shards}: {len(faults)} faults, listed above; render or copy those shards again")
    print(f"{shards}: {index.samples} samples in {len(index.shards)} shards are as index.json says")


def index(shards: Path, made_by: str = "unknown") -> None:
    """Write index.json for shards that another tool made.

    Args:
        shards: Folder of shards in keyface's schema, as webdataset's ShardWriter may have written them.
        made_by: How they were made, for the record.
    """
    from keyface.datamodules.shard_files.verify import make_index

    made = make_index(shards, {"by": made_by})
    own = f", own labels: {', '.join(made.attributes)}" if made.attributes else ""
    size = f"{made.bytes / 1e6:.1f} MB"
    print(f"{shards}: indexed {made.samples} samples in {len(made.shards)} shards, {size}{own}")


def _frozen_base() -> Backbone:
    from keyface.miniature import zoo

    return zoo.backbone()
