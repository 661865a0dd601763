"""`keyface caption`: describe the images of shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from keyface.commands.data.prediction import precision_on, predict


def caption(
    shards: Path,
    lightning: Callable[[Sequence[str]], int],
    captioner: str = "blip2",
    prompt: str = "a photo of",
    dtype: str = "auto",
    batch_size: int = 8,
    workers: int = 2,
    overwrite: bool = False,
    accelerator: str = "auto",
    devices: str = "auto",
    nodes: int = 1,
    runs: Path = Path("runs"),
) -> int:
    """Describe the images of shards and write the captions into them; an interrupted call can be repeated.

    Short for `lightning predict -c configs/caption.yaml`, whose every value can be set there.

    Args:
        shards: Folder of shards.
        lightning: Runs a `lightning` command line and returns its exit status.
        captioner: blip2 (`keyface weights get blip2`), blip2:FOLDER, or miniature, for rendered faces.
        prompt: How BLIP-2's captions begin.
        dtype: Precision of BLIP-2's weights: float32, bfloat16 or float16; auto is bfloat16 on a GPU.
        batch_size: Images a batch, on each device.
        workers: Data loading processes of each device.
        overwrite: Also where there is a caption; drops the latents, which were inverted with the old one.
        accelerator: cpu, gpu or auto.
        devices: How many, or auto for all.
        nodes: Number of machines.
        runs: Folder of the run's record.
    """
    values = {
        "model.init_args.captioner": captioner,
        "model.init_args.prompt": prompt,
        "model.init_args.dtype": precision_on(accelerator, dtype),
    }
    data = {"shards": shards, "batch_size": batch_size, "workers": workers, "overwrite": overwrite}
    trainer = {"accelerator": accelerator, "devices": devices, "num_nodes": nodes}
    return predict(lightning, "caption", runs, values, data, trainer)
